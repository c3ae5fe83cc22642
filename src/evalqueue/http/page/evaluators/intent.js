// Intent: whether the router sent each message to the right agent.

import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { evidenceList } from "./parts.js";

/**
 * @typedef {import("./parts.js").Json} Json
 * @typedef {import("./parts.js").Highlight} Highlight
 */

/** @type {import("./declared.js").Cards} */
export const intent = {
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
