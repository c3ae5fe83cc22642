// The bottom of the evaluation form: how many LLM calls it makes, what they may cost, and the button.

import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../client/index.js").Preview} Preview */

/**
 * @param {object} options
 * @param {Preview | null} options.preview
 * @param {boolean} options.isBatched in economy mode
 * @param {boolean} options.isWrong
 * @param {boolean} options.isNoneChosen
 * @param {boolean} options.isSubmitting
 * @param {() => void} options.onSubmit
 */
export function submitBar({ preview, isBatched, isWrong, isNoneChosen, isSubmitting, onSubmit }) {
  const calls = preview?.llm_calls;
  return html`<div class="bar-bottom row-wide">
    <p role="status">
      ${
        calls && preview?.chosen
          ? html`<strong id="calls">${format.plural(calls.total, "LLM call")}</strong>
              <span class="quiet"
                >for ${format.plural(preview.chosen.threads, "conversation")} of
                ${format.plural(preview.chosen.messages, "message")}, without
                retries${
                  preview.skipped
                    ? `; ${format.plural(preview.skipped, "conversation")} left out`
                    : ""
                }</span
              >
              ${preview.estimate ? estimated(preview.estimate, isBatched) : nothing}`
          : html`<span class="quiet"
              >${
                isWrong
                  ? "Correct the errors first."
                  : isNoneChosen
                    ? "No conversation is chosen."
                    : "Counting the calls …"
              }</span
            >`
      }
    </p>
    <button
      type="button"
      class="primary"
      ?disabled=${
        !calls ||
        !preview?.chosen?.threads ||
        isSubmitting ||
        isNoneChosen ||
        preview?.misfits.some((each) => each.refused)
      }
      @click=${onSubmit}
    >
      ${isSubmitting ? "Submitting …" : "Start the evaluation"}
    </button>
  </div>`;
}

/** What the calls may use. @param {import("../client/index.js").Estimate} estimate @param {boolean} isBatched */
function estimated({ tokens_in: input, tokens_out: output, cost_usd: cost }, isBatched) {
  const range = (/** @type {number} */ low, /** @type {number} */ high) =>
    `${format.compact(low)} to ${format.compact(high)} tokens`;
  if (!Number(cost?.high ?? 1))
    return html`<br /><span id="estimate" class="quiet">It costs nothing</span>`;
  return html`<br /><span id="estimate" class="quiet"
      >About ${format.compact(input.expected + output.expected)} tokens
      (${range(input.low + output.low, input.high + output.high)}),
      ${
        cost
          ? html`${format.dollars(cost.expected)} (${format.dollars(cost.low)} to
            ${format.dollars(cost.high)})`
          : "at an unknown price"
      }${isBatched ? ", by batches within a day" : ""}</span
    >`;
}
