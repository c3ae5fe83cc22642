// Efficiency: whether the user reached the goal without detours.

import { ruleList } from "../components/rule-list.js";
import { label } from "../format/labels.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { evidenceList, overrideNote, yesNo } from "./parts.js";

/**
 * @typedef {import("./parts.js").Json} Json
 * @typedef {import("./parts.js").Highlight} Highlight
 */

/** @type {Record<string, string>} */
const TONES = {
  EFFICIENT: "good",
  ACCEPTABLE: "fair",
  FRICTION: "warn",
  INCOMPLETE: "warn",
  BROKEN: "bad",
};

/** @type {import("./declared.js").Cards} */
export const efficiency = {
  turnCard: (result, turn) =>
    (result.efficiency_evaluation?.friction_turns ?? [])
      .filter((/** @type {Json} */ each) => each.turn === turn)
      .map(
        (/** @type {Json} */ each) =>
          html`<p class="small">
            <span class="badge tone-warn">friction</span> caused by the ${each.cause.toLowerCase()}:
            ${each.description}
          </p>`,
      ),
  conversationCard: (result, highlight) => card(result.efficiency_evaluation, highlight),
};

/** @param {Json | null | undefined} result @param {Highlight} highlight */
function card(result, highlight) {
  if (!result) return nothing;
  const counts = /** @type {Json | undefined} */ (result.counted);
  return html`<section class="card stack-tight">
    <h2>
      Efficiency
      <span class="badge tone-${TONES[result.verdict] ?? "none"}">${label(result.verdict)}</span>
    </h2>
    ${overrideNote(result)}
    <p class="small">${result.reasoning}</p>
    ${evidenceList(result.evidence, highlight)}
    <dl class="facts small">
      <dt>Task completed</dt>
      <dd>${yesNo(result.task_completed)}</dd>
      ${
        result.recovery_quality
          ? html`<dt>Recovery</dt>
              <dd>${label(result.recovery_quality)}</dd>`
          : nothing
      }
      ${
        result.thread_type
          ? html`<dt>Kind</dt>
              <dd>${label(result.thread_type)}</dd>`
          : nothing
      }
      ${
        result.failure_reason
          ? html`<dt>Why it failed</dt>
              <dd>${result.failure_reason}</dd>`
          : nothing
      }
      ${
        result.incomplete_reason
          ? html`<dt>Why it is incomplete</dt>
              <dd>${label(result.incomplete_reason)}</dd>`
          : nothing
      }
      ${
        counts
          ? html`<dt>Turns</dt>
              <dd>${counts.turns}, ${counts.ideal_turns} would be ideal</dd>`
          : nothing
      }
      ${
        counts?.repeated_bot_questions?.length
          ? html`<dt>Asked again</dt>
              <dd>
                ${counts.repeated_bot_questions
                  .map((/** @type {Json} */ each) => `turn ${each.turn}: ${each.question}`)
                  .join("; ")}
              </dd>`
          : nothing
      }
    </dl>
    ${(result.contradictions ?? []).map(
      (/** @type {string} */ each) =>
        html`<p class="small"><span class="badge tone-warn">contradiction</span> ${each}</p>`,
    )}
    ${ruleList(result.rule_compliance)}
  </section>`;
}
