// The part of the evaluation form about what an evaluation costs.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

/**
 * @typedef {object} Spending
 * @property {string} mode "live", or "economy": by the vendor's batches
 * @property {string} fallback of a question that a batch did not answer: "live" or "fail"
 * @property {string} max_cost in US dollars; empty: no cap
 * @property {number} max_tokens 0: no cap
 * @property {boolean} reuse
 * @property {boolean} skip_evaluated
 */

/** @returns {Spending} */
export function noCaps() {
  return {
    mode: "live",
    fallback: "live",
    max_cost: "",
    max_tokens: 0,
    reuse: false,
    skip_evaluated: false,
  };
}

/**
 * The params of the job.
 * @param {Spending} spending
 */
export function spendingParams({ mode, fallback, max_cost, max_tokens, reuse, skip_evaluated }) {
  return {
    ...(mode === "economy" ? { mode, fallback } : {}),
    ...(max_cost.trim() ? { max_cost: max_cost.trim() } : {}),
    ...(max_tokens ? { max_tokens } : {}),
    ...(reuse ? { reuse } : {}),
    ...(skip_evaluated ? { skip_evaluated } : {}),
  };
}

/**
 * @param {Spending} spending
 * @param {object} options
 * @param {(key: keyof Spending) => (event: Event) => void} options.set
 * @param {(...names: string[]) => unknown} options.fieldErrors
 * @param {string | null} options.withoutBatches why the provider has no batches; null: it has
 */
export function spendingFields(spending, { set, fieldErrors, withoutBatches }) {
  const isEconomy = spending.mode === "economy";
  return html`<label class="field"
      ><span>When</span
      ><select @change=${set("mode")}>
        <option value="live" ?selected=${!isEconomy}>Now, at the full price</option>
        <option
          value="economy"
          ?selected=${isEconomy}
          ?disabled=${withoutBatches !== null && !isEconomy}
        >
          Within a day, at half the price
        </option>
      </select></label
    >
    ${
      withoutBatches !== null
        ? html`<p class=${isEconomy ? "wrong" : "hint"}>
            Half the price is not possible: ${withoutBatches}
          </p>`
        : isEconomy
          ? html`<label class="field"
              ><span>What a batch does not answer</span
              ><select @change=${set("fallback")}>
                <option value="live" ?selected=${spending.fallback === "live"}>
                  is asked at once, at the full price
                </option>
                <option value="fail" ?selected=${spending.fallback === "fail"}>
                  has no verdict
                </option>
              </select></label
            >`
          : nothing
    }
    ${fieldErrors("mode", "fallback")}
    <label class="field"
      ><span>Most that it may cost, in US dollars</span
      ><input
        inputmode="decimal"
        placeholder="no cap"
        .value=${spending.max_cost}
        @input=${set("max_cost")}
    /></label>
    ${fieldErrors("max_cost")}
    <details>
      <summary>Tokens, and what earlier runs have</summary>
      <label class="field"
        ><span>Most tokens that it may use</span
        ><input
          type="number"
          min="1"
          step="1"
          placeholder="no cap"
          .value=${spending.max_tokens ? String(spending.max_tokens) : ""}
          @input=${set("max_tokens")}
      /></label>
      <label class="choice"
        ><input type="checkbox" .checked=${spending.reuse} @change=${set("reuse")} /><span
          >Reuse answers to identical questions<br /><span class="hint"
            >From earlier runs of yours, with the same model, parameters and prompt.</span
          ></span
        ></label
      >
      <label class="choice"
        ><input
          type="checkbox"
          .checked=${spending.skip_evaluated}
          @change=${set("skip_evaluated")}
        /><span
          >Leave out conversations that are evaluated<br /><span class="hint"
            >By the same versions of the evaluators, for the same app, with the same model.</span
          ></span
        ></label
      >
    </details>
    ${fieldErrors("max_tokens", "reuse", "skip_evaluated")}`;
}
