// The part of the evaluation form that says which judge is asked, how, and for how much.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { spendingFields } from "./spending-fields.js";

/**
 * @typedef {import("./spending-fields.js").Spending & {
 *   provider: string, model: string, concurrency: number, temperature: number,
 *   max_output_tokens: number | null, model_settings: string,
 * }} Judge
 */

/**
 * @param {object} options
 * @param {Judge} options.form
 * @param {import("../client/index.js").Provider[]} options.providers
 * @param {(key: keyof Judge) => (event: Event) => void} options.set
 * @param {(...names: string[]) => unknown} options.fieldErrors
 */
export function judgeFields({ form, providers, set, fieldErrors }) {
  const chosen = providers.find(({ name }) => name === form.provider);
  return modelFields({
    form,
    providers,
    set,
    fieldErrors,
    more: html`<label class="field"
        ><span>LLM calls at once: ${form.concurrency}</span
        ><input
          type="range"
          min="1"
          max="64"
          .value=${String(form.concurrency)}
          @input=${set("concurrency")}
      /></label>
      <label class="field"
        ><span>Temperature</span
        ><input
          type="number"
          min="0"
          max="2"
          step="0.1"
          value=${form.temperature}
          @input=${set("temperature")}
      /></label>
      ${spendingFields(form, { set, fieldErrors, withoutBatches: chosen?.without_batches ?? null })}
      <details>
        <summary>More about the model</summary>
        <label class="field"
          ><span>Output tokens of a call, with its reasoning</span
          ><input
            type="number"
            min="16"
            step="1"
            placeholder="4096"
            .value=${form.max_output_tokens ? String(form.max_output_tokens) : ""}
            @input=${set("max_output_tokens")}
        /></label>
        <label class="field"
          ><span>Settings in the vendor's spelling, as a JSON object</span
          ><input
            type="text"
            spellcheck="false"
            placeholder='{"reasoning_effort": "low"}'
            .value=${form.model_settings}
            @input=${set("model_settings")}
        /></label>
      </details>
      ${fieldErrors("temperature", "concurrency", "max_output_tokens", "model_settings")}`,
  });
}

/**
 * Which provider and model are asked, and more fields of the caller.
 * @param {object} options
 * @param {{ provider: string, model: string }} options.form
 * @param {import("../client/index.js").Provider[]} options.providers
 * @param {(key: "provider" | "model") => (event: Event) => void} options.set
 * @param {(...names: string[]) => unknown} [options.fieldErrors]
 * @param {unknown} options.more
 */
export function modelFields({ form, providers, set, fieldErrors = () => nothing, more }) {
  const chosen = providers.find(({ name }) => name === form.provider);
  return html`<fieldset class="card stack-tight">
    <legend>Judge</legend>
    <label class="field"
      ><span>Provider</span
      ><select @change=${set("provider")}>
        ${providers.map(
          ({ name, ready }) =>
            html`<option value=${name} ?selected=${form.provider === name}>
              ${name.replaceAll("_", " ")}${ready ? "" : " (not ready)"}
            </option>`,
        )}
      </select></label
    >
    ${chosen && !chosen.ready ? html`<p class="wrong">${chosen.reason}</p>` : nothing}
    ${
      form.provider === "simulated"
        ? html`<p class="hint">
            Simulated: its answers are gold labels with noise, not judgements.
          </p>`
        : nothing
    }
    ${fieldErrors("llm_provider")}
    <label class="field"
      ><span>Model</span
      ><input placeholder="the provider's default" .value=${form.model} @input=${set("model")}
    /></label>
    ${fieldErrors("llm_model")} ${more}
  </fieldset>`;
}
