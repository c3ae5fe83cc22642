// A file with other headers: which of its columns is which of ours.

import { html, nothing } from "./vendor/lit-html/lit-html.js";

/** What each column holds, as people would ask for it. @type {Record<string, string>} */
const ABOUT = {
  thread_id: "names the conversation", user_id: "names the user", session_id: "names the session",
  query_text: "what the user wrote", final_response_message: "what the bot answered", intent_detected: "the router's choice",
  timestamp: "when it was said", has_image: "whether a photo came with it", response_id: "names the answer",
  intent_query_type: "question or logging", error_message: "what went wrong in production",
};

export class Mapping {
  /** @param {import("./client/index.js").Preview} seen @param {() => void} changed */
  constructor(seen, changed) {
    this.columns = seen.columns;
    this.required = new Set([...seen.missing_columns, ...Object.keys(seen.mapping)]);
    this.missing = seen.missing_columns;
    /** @type {Record<string, string>} */
    this.chosen = { ...seen.mapping };
    this.changed = changed;
  }

  get isWhole() {
    return this.missing.every((column) => this.chosen[column]);
  }

  /** @param {string} column @param {Event} event */
  choose(column, event) {
    const header = /** @type {HTMLSelectElement} */ (event.target).value;
    if (header) this.chosen[column] = header;
    else delete this.chosen[column];
    this.changed();
  }

  render() {
    const ours = Object.keys(ABOUT);
    return html`
      <p class="hint">The file's headers are not the ones we know. Choose for each what holds it; nothing in the file is changed.</p>
      <div class="scroll"><table class="table cards">
        <caption class="visually-hidden">Columns</caption>
        <thead><tr><th scope="col">We need</th><th scope="col">Column of the file</th><th scope="col">For example</th></tr></thead>
        <tbody>${ours.map((column) => {
          const isNeeded = this.missing.includes(column);
          const header = this.chosen[column] ?? "";
          const samples = this.columns.find(({ name }) => name === header)?.samples ?? [];
          return html`<tr><td><label for="column-${column}"><code>${column}</code> <span class="hint">${ABOUT[column]}</span></label></td>
            <td><select id="column-${column}" aria-invalid=${isNeeded && !header ? "true" : nothing} @change=${(/** @type {Event} */ event) => this.choose(column, event)}>
              <option value="" ?selected=${!header}>${isNeeded ? "choose …" : "–"}</option>${this.columns.map(({ name }) => html`<option value=${name} ?selected=${name === header}>${name}</option>`)}</select></td>
            <td class="small quiet grow">${samples.map((each) => html`<div>${each.slice(0, 80)}</div>`)}</td></tr>`;
        })}</tbody></table></div>`;
  }
}
