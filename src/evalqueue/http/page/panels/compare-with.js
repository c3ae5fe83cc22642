// Chooses the baseline that a run is compared with.

import { refresher } from "../data/refresher.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const MAX_RUNS = 100;

/** @typedef {import("../client/index.js").EvalRun} EvalRun */

export class CompareWith {
  /**
   * @param {import("../app.js").App} app
   * @param {EvalRun} run
   * @param {AbortSignal} signal
   */
  constructor(app, run, signal) {
    this.app = app;
    this.run = run;
    /** @type {EvalRun[]} other runs of the same kind, newest first */
    this.others = [];
    this.baselineId = "";
    const load = refresher(
      async () => {
        const found = await app.api.runs.list({ command: run.command, limit: MAX_RUNS });
        this.others = found.filter(({ id }) => id !== run.id);
        app.refresh();
      },
      // Without the list, the rest of the page is of use; the view shows why nothing can be read.
      { signal, minIntervalMs: 0, onError: (error) => app.reportError(error) },
    );
    load();
  }

  render() {
    if (!this.others.length) return nothing;
    /** @param {EvalRun} other */
    const isSame = (other) => other.dataset_id === this.run.dataset_id;
    const same = this.others.filter(isSame);
    const others = this.others.filter((each) => !isSame(each));
    return html`<form
      class="row"
      aria-label="Compare"
      @submit=${(/** @type {Event} */ event) => {
        event.preventDefault();
        if (this.baselineId) this.app.go(`/runs/${this.run.id}/compare/${this.baselineId}`);
      }}
    >
      <label class="pick"
        ><span class="visually-hidden">Compare with a run</span
        ><select
          required
          @change=${(/** @type {Event} */ event) => {
            this.baselineId = /** @type {HTMLSelectElement} */ (event.target).value;
            this.app.refresh();
          }}
        >
          <option value="" ?selected=${!this.baselineId}>Compare with…</option>
          ${this.group("The same conversations", same)}${this.group("Other datasets", others)}
        </select></label
      ><button ?disabled=${!this.baselineId}>Compare</button>
    </form>`;
  }

  /** @param {string} name @param {EvalRun[]} runs */
  group(name, runs) {
    if (!runs.length) return nothing;
    return html`<optgroup label=${name}>
      ${runs.map(
        ({ id, name, llm_model, created_at }) =>
          html`<option value=${id} ?selected=${id === this.baselineId}>
            ${[name || format.shortId(id), llm_model, format.moment(created_at)].filter(Boolean).join(" · ")}
          </option>`,
      )}
    </optgroup>`;
  }
}
