// The mapping of a file's columns to the expected ones, for a file with other headers.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** The expected columns: name, description. */
const COLUMNS = /** @type {const} */ ([
  ["thread_id", "names the conversation"],
  ["query_text", "what the user wrote"],
  ["query_input", "what an instruction is about"],
  ["final_response_message", "what the bot answered"],
  ["role", "who wrote the message"],
  ["content", "the message"],
  ["timestamp", "when it was sent"],
  ["user_id", "names the user"],
  ["session_id", "names the session"],
  ["intent_detected", "the router's choice"],
  ["has_image", "whether a photo came with it"],
  ["response_id", "names the answer"],
  ["intent_query_type", "question or logging"],
  ["error_message", "what went wrong in production"],
  ["context", "what the bot was given to answer with"],
  ["system_prompt", "the bot's instructions"],
  ["expected", "the reference answer, what the bot should have said"],
  ["alternative", "another answer to the same message, which a pair compares with the bot's"],
  ["latency_ms", "how long the answer took, in milliseconds"],
  ["latency_seconds", "how long the answer took, in seconds"],
]);
const OF_TURNS = ["query_text", "final_response_message"];
const OF_MESSAGES = ["role", "content"];
const NOT_OF_MESSAGES = [...OF_TURNS, "query_input"];
const NOT_IN_FILE = ""; // the API's value of a column that the file does not have

export class ColumnMapping {
  /** @param {import("../client/index.js").Preview} preview @param {() => void} onChange */
  constructor(preview, onChange) {
    this.columns = preview.columns;
    this.onChange = onChange;
    /** Whether each row is a message with a role, and not a question with its answer. */
    const isOfMessages = preview.mapping["role"] !== undefined;
    this.required = ["thread_id", ...(isOfMessages ? OF_MESSAGES : OF_TURNS)];
    this.expected = COLUMNS.filter(
      ([column]) => !(isOfMessages ? NOT_OF_MESSAGES : OF_MESSAGES).includes(column),
    );
    /** @type {Record<string, string>} header in the file, by expected column */
    this.chosen = Object.fromEntries(
      this.expected.flatMap(([column]) => {
        const header = preview.mapping[column];
        if (header !== undefined) return [[column, header]];
        return this.required.includes(column) ? [] : [[column, NOT_IN_FILE]];
      }),
    );
    this.isDateOrderNeeded = preview.is_date_order_needed;
    /** @type {import("../client/index.js").DateOrder | undefined} */
    this.dateOrder = undefined;
  }

  get isComplete() {
    return (
      this.required.every((column) => this.chosen[column]) &&
      (!this.isDateOrderNeeded || !this.chosen["timestamp"] || this.dateOrder !== undefined)
    );
  }

  /** @param {string} column @param {Event} event */
  choose(column, event) {
    this.chosen[column] = /** @type {HTMLSelectElement} */ (event.target).value;
    this.onChange();
  }

  /** @param {Event} event */
  chooseDateOrder(event) {
    const order = /** @type {HTMLSelectElement} */ (event.target).value;
    this.dateOrder = order === "day-first" || order === "month-first" ? order : undefined;
    this.onChange();
  }

  dateOrderChoice() {
    return html`<label class="field"
      ><span>What does 1/2/2025 mean in this file?</span>
      <select
        id="date-order"
        aria-invalid=${this.dateOrder ? nothing : "true"}
        @change=${(/** @type {Event} */ event) => this.chooseDateOrder(event)}
      >
        <option value="" ?selected=${!this.dateOrder}>choose …</option>
        <option value="day-first" ?selected=${this.dateOrder === "day-first"}>
          1 February 2025
        </option>
        <option value="month-first" ?selected=${this.dateOrder === "month-first"}>
          January 2, 2025
        </option>
      </select></label
    >`;
  }

  render() {
    return html`<p class="hint">
        The file has other headers than expected. Check the file's column for each expected one; the
        file itself is not changed.
      </p>
      ${this.isDateOrderNeeded && this.chosen["timestamp"] ? this.dateOrderChoice() : nothing}
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
            ${this.expected.map(([column, about]) => {
              const isRequired = this.required.includes(column);
              const unmapped = isRequired ? "choose …" : "not in my file";
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
