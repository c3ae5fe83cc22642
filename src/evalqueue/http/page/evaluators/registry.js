// The evaluators of a batch run, in the order in which the page shows them. Views loop over this
// list. Two other places name evaluators: the form in views/new.js and the verdicts in labels.js.

import { correctness } from "./correctness.js";
import { efficiency } from "./efficiency.js";
import { intent } from "./intent.js";

/**
 * @typedef {Pick<
 *   import("../client/index.js").Outcome,
 *   "intent_accuracy" | "worst_correctness" | "efficiency_verdict"
 * >} Row the scores of one conversation
 *
 * @typedef {object} Filter
 * @property {string} key its value in the address
 * @property {string} text
 * @property {(row: Row) => boolean} matches
 *
 * @typedef {object} Evaluator
 * @property {"intent" | "correctness" | "efficiency"} key
 * @property {string} name
 * @property {string} about one sentence on what it measures, one on what it costs
 * @property {keyof Row} column the row's field, which is also its `sort` in the address
 * @property {(row: Row) => number} rank to sort by, the worst first
 * @property {(row: Row) => unknown} cell of the table of conversations
 * @property {(row: Row) => unknown} headline of a conversation
 * @property {(summary: Json) => string | null} summaryText the main result, in the list of runs
 * @property {Filter[]} verdictFilters one for each verdict, the worst first
 * @property {Filter[]} otherFilters
 * @property {(batch: BatchStatistics) => unknown} figure one number for the head of the run
 * @property {(batch: BatchStatistics) => unknown} distribution a card: the share of each verdict
 * @property {(batch: BatchStatistics) => unknown} details a card: further figures
 * @property {(result: Json) => Json[]} evidence every quote of a conversation's result
 * @property {(result: Json, turn: number, highlight: Highlight) => unknown} turnCard
 * @property {(result: Json, highlight: Highlight) => unknown} conversationCard
 *
 * @typedef {import("../client/index.js").BatchStatistics} BatchStatistics
 * @typedef {import("./parts.js").Json} Json
 * @typedef {import("./parts.js").Highlight} Highlight
 */

/** @type {Evaluator[]} */
export const EVALUATORS = [intent, correctness, efficiency];
