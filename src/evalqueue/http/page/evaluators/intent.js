// Intent: whether the router sent each message to the right agent.

import { badge, figure } from "../components/basics.js";
import { confusion } from "../components/charts.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { evidenceList } from "./parts.js";

/**
 * @typedef {import("./parts.js").Json} Json
 * @typedef {import("./parts.js").Highlight} Highlight
 */

/** @type {import("./registry.js").Evaluator} */
export const intent = {
  key: "intent",
  name: "Intent",
  about: "Did the router send each message to the right agent? One call for each message.",
  column: "intent_accuracy",
  rank: (row) => row.intent_accuracy ?? 2,
  cell: (row) => (row.intent_accuracy == null ? badge(null) : format.percent(row.intent_accuracy)),
  headline: (row) =>
    row.intent_accuracy == null
      ? badge(null)
      : html`<strong>${format.percent(row.intent_accuracy)}</strong>`,
  summaryText: ({ avg_intent_accuracy: accuracy }) =>
    accuracy == null ? null : `intent ${format.percent(accuracy)}`,
  verdictFilters: [],
  otherFilters: [
    {
      key: "intent",
      text: "wrong intent",
      matches: (row) => row.intent_accuracy != null && row.intent_accuracy < 1,
    },
  ],
  figure: ({ intent: figures }) =>
    figure(
      "Intent accuracy",
      format.percent(figures?.accuracy),
      figures?.low == null
        ? ""
        : `${format.percent(figures.low)} to ${format.percent(figures.high)}`,
    ),
  distribution: () => nothing,
  details({ intent: figures }) {
    if (!figures?.labels.length) return nothing;
    return html`<section class="card">
      <h2>
        Intent
        <span class="quiet small"
          >${format.count(figures.correct)} of ${format.count(figures.compared)} messages routed
          right</span
        >
      </h2>
      ${confusion(figures)}
    </section>`;
  },
  evidence: (result) =>
    (result.intent_evaluations ?? []).flatMap((/** @type {Json} */ each) => each.evidence ?? []),
  turnCard: (result, turn, highlight) =>
    card(
      result.intent_evaluations?.find((/** @type {Json} */ each) => each.turn === turn),
      highlight,
    ),
  conversationCard: () => nothing,
};

/** @param {Json | undefined} result @param {Highlight} highlight */
function card(result, highlight) {
  if (!result) return nothing;
  const verdict =
    result.is_correct_intent == null ? null : result.is_correct_intent ? "PASS" : "HARD FAIL";
  return html`<details>
    <summary>
      Intent
      ${badgeOf(verdict, { "PASS": "right", "HARD FAIL": "wrong" }, "nothing to compare with")}
      <span class="small quiet"
        >${
          result.expected_intent == null || result.is_correct_intent
            ? result.predicted_intent
            : `routed to ${result.expected_intent}, judged ${result.predicted_intent}`
        }
        · ${format.percent(result.confidence)} sure</span
      >
    </summary>
    <div class="stack-tight">
      <p class="small">${result.reasoning}</p>
      ${evidenceList(result.evidence, highlight)}
      ${
        result.is_correct_query_type == null
          ? nothing
          : html`<p class="small quiet">
              query type:
              ${result.predicted_query_type}${
                result.is_correct_query_type ? "" : `, recorded as ${result.expected_query_type}`
              }
            </p>`
      }
    </div>
  </details>`;
}

/** @param {string | null} verdict @param {Record<string, string>} words @param {string} absent */
function badgeOf(verdict, words, absent) {
  const tone = { "PASS": "good", "HARD FAIL": "bad" }[verdict ?? ""] ?? "none";
  return html`<span class="badge tone-${tone}">${verdict == null ? absent : words[verdict]}</span>`;
}
