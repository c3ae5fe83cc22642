// The mapping of a file's columns to the expected ones, for a file with other headers.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** The expected columns: name, description, whether it is required. */
const COLUMNS = /** @type {const} */ ([
  ["thread_id", "names the conversation", true],
  ["user_id", "names the user", true],
  ["session_id", "names the session", true],
  ["query_text", "what the user wrote", true],
  ["final_response_message", "what the bot answered", true],
  ["intent_detected", "the router's choice", true],
  ["timestamp", "when it was sent", true],
  ["has_image", "whether a photo came with it", true],
  ["response_id", "names the answer", false],
  ["intent_query_type", "question or logging", false],
  ["error_message", "what went wrong in production", false],
]);

export class ColumnMapping {
  /** @param {import("../client/index.js").Preview} preview @param {() => void} onChange */
  constructor(preview, onChange) {
    this.columns = preview.columns;
    /** @type {Record<string, string>} header in the file, by expected column */
    this.chosen = { ...preview.mapping };
    this.onChange = onChange;
  }

  get isComplete() {
    return COLUMNS.every(([column, , isRequired]) => !isRequired || this.chosen[column]);
  }

  /** @param {string} column @param {Event} event */
  choose(column, event) {
    const header = /** @type {HTMLSelectElement} */ (event.target).value;
    if (header) this.chosen[column] = header;
    else delete this.chosen[column];
    this.onChange();
  }

  render() {
    return html`<p class="hint">
        The file has other headers than expected. Choose the file's column for each expected one;
        the file itself is not changed.
      </p>
      <div class="scroll" tabindex="0" role="region" aria-label="Columns">
        <table class="table cards">
          <caption class="visually-hidden">
            Columns
          </caption>
          <thead>
            <tr>
              <th scope="col">Expected column</th>
              <th scope="col">Column of the file</th>
              <th scope="col">For example</th>
            </tr>
          </thead>
          <tbody>
            ${COLUMNS.map(([column, about, isRequired]) => {
              const unmapped = isRequired ? "choose …" : "–";
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
                    aria-invalid=${isRequired && !header ? "true" : nothing}
                    @change=${(/** @type {Event} */ event) => this.choose(column, event)}
                  >
                    <option value="" ?selected=${!header}>${unmapped}</option>
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
