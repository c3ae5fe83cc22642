// The evaluators of a run, made of what they declare. An evaluator that has more to show of a
// conversation than its scores has a module here, and a line in the list below.

import { correctness } from "./correctness.js";
import { declared } from "./declared.js";
import { efficiency } from "./efficiency.js";
import { intent } from "./intent.js";

/**
 * @typedef {import("./declared.js").Evaluator} Evaluator
 * @typedef {import("./declared.js").Declaration} Declaration
 * @typedef {import("./declared.js").Cards} Cards
 */

/** @type {Record<string, Cards>} */
const CARDS = { intent, correctness, efficiency };

/**
 * @param {Declaration[]} declarations
 * @returns {Evaluator[]}
 */
export function evaluatorsOf(declarations) {
  return declarations.map((each) => declared(each, CARDS[each.name]));
}
