// A file with other headers: which of its columns is which of ours.

import { html, nothing } from "./vendor/lit-html/lit-html.js";

/** Our columns: what each holds, as people would ask for it, and whether there has to be one. */
const OURS = /** @type {const} */ ([
  ["thread_id", "names the conversation", true],
  ["user_id", "names the user", true],
  ["session_id", "names the session", true],
  ["query_text", "what the user wrote", true],
  ["final_response_message", "what the bot answered", true],
  ["intent_detected", "the router's choice", true],
  ["timestamp", "when it was said", true],
  ["has_image", "whether a photo came with it", true],
  ["response_id", "names the answer", false],
  ["intent_query_type", "question or logging", false],
  ["error_message", "what went wrong in production", false],
]);

export class Mapping {
  /** @param {import("./client/index.js").Preview} seen @param {() => void} changed */
  constructor(seen, changed) {
    this.columns = seen.columns;
    /** @type {Record<string, string>} our column: the file's */
    this.chosen = { ...seen.mapping };
    this.changed = changed;
  }

  get isWhole() {
    return OURS.every(([column, , isNeeded]) => !isNeeded || this.chosen[column]);
  }

  /** @param {string} column @param {Event} event */
  choose(column, event) {
    const header = /** @type {HTMLSelectElement} */ (event.target).value;
    if (header) this.chosen[column] = header;
    else delete this.chosen[column];
    this.changed();
  }

  render() {
    return html`<p class="hint">
        The file's headers are not the ones we know. Choose for each what holds it; nothing in the
        file is changed.
      </p>
      <div class="scroll" tabindex="0" role="region" aria-label="Columns">
        <table class="table cards">
          <caption class="visually-hidden">
            Columns
          </caption>
          <thead>
            <tr>
              <th scope="col">We need</th>
              <th scope="col">Column of the file</th>
              <th scope="col">For example</th>
            </tr>
          </thead>
          <tbody>
            ${OURS.map(([column, about, isNeeded]) => {
              const header = this.chosen[column] ?? "";
              const samples = this.columns.find(({ name }) => name === header)?.samples ?? [];
              return html`<tr>
                <td>
                  <label for="column-${column}"
                    ><code>${column}</code> <span class="hint">${about}</span></label
                  >
                </td>
                <td>
                  <select
                    id="column-${column}"
                    aria-invalid=${isNeeded && !header ? "true" : nothing}
                    @change=${(/** @type {Event} */ event) => this.choose(column, event)}
                  >
                    <option value="" ?selected=${!header}>${isNeeded ? "choose …" : "–"}</option>
                    ${this.columns.map(
                      ({ name }) =>
                        html`<option value=${name} ?selected=${name === header}>${name}</option>`,
                    )}
                  </select>
                </td>
                <td class="small quiet grow">
                  ${samples.map((each) => html`<div>${each.slice(0, 80)}</div>`)}
                </td>
              </tr>`;
            })}
          </tbody>
        </table>
      </div>`;
  }
}
