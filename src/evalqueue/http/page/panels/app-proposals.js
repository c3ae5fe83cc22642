// What a judge proposes for an app that is drafted from a dataset, by a job. The person decides.

import { banner } from "../components/basics.js";
import { errorText } from "../data/errors.js";
import { isOver } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/**
 * @typedef {import("../client/index.js").Job} Job
 * @typedef {object} Proposed the result of the job
 * @property {string} text the draft as TOML; what the judge proposes is marked in it
 * @property {string[]} proposed where
 * @property {{ what: string, why: string }[]} dropped proposals that do not fit
 * @property {string | null} [note] why nothing is proposed
 * @property {{ cost_usd: string | null }} [used]
 */

export class AppProposals {
  /**
   * @param {import("../app.js").App} app
   * @param {AbortSignal} signal of the view
   * @param {(toml: string) => void} onDraft there is a draft with proposals
   */
  constructor(app, signal, onDraft) {
    this.app = app;
    this.signal = signal;
    this.onDraft = onDraft;
    /** @type {Job | null} */
    this.job = null;
    /** @type {unknown} */
    this.error = null;
    this.isAsked = false;
    signal.addEventListener("abort", () => {
      const { job } = this;
      if (job && !isOver(job.status)) app.api.jobs.cancel(job.id).catch(() => {}); // it ends anyway
    });
  }

  get isUnderWay() {
    return this.isAsked && !this.error && !(this.job && isOver(this.job.status));
  }

  /** @param {string} datasetId */
  async ask(datasetId) {
    if (this.isUnderWay) return;
    Object.assign(this, { isAsked: true, job: null, error: null });
    this.app.refresh();
    const { api } = this.app;
    try {
      const submitted = await api.jobs.submit("propose-app", { dataset_id: datasetId });
      const onChange = (/** @type {Job} */ job) => {
        this.job = job;
        this.app.refresh();
      };
      const job = await api.watch(submitted.id, onChange, { signal: this.signal }).done;
      const found = /** @type {Proposed | null} */ (job.result);
      if (found?.proposed.length) this.onDraft(found.text);
    } catch (error) {
      if (!this.signal.aborted) this.error = this.app.reportError(error);
    }
    this.app.refresh();
  }

  /** @param {string} datasetId */
  render(datasetId) {
    return html`<section class="card stack-tight" aria-label="Proposals">
      <div class="row">
        <button type="button" ?disabled=${this.isUnderWay} @click=${() => this.ask(datasetId)}>
          Propose by a judge
        </button>
        <span class="small quiet"
          >One LLM call about 20 conversations. What is proposed replaces the text, marked.</span
        >
      </div>
      <div role="status">${this.isAsked ? this.status() : nothing}</div>
    </section>`;
  }

  status() {
    if (this.error) return banner("failed", "Refused", errorText(this.error));
    const { job } = this;
    if (!job || job.status === "queued") {
      const why = job ? this.app.waiting.of(job) : "";
      return html`<p class=${why ? "wrong" : "quiet"}>${why || "Waiting for a worker …"}</p>`;
    }
    if (!isOver(job.status)) return html`<p class="quiet">The judge is asked …</p>`;
    if (job.status !== "completed") {
      return banner("failed", "Nothing is proposed", job.error_message ?? job.status);
    }
    const found = /** @type {Proposed} */ (job.result);
    const cost = found.used?.cost_usd ? `, ${format.dollars(found.used.cost_usd)}` : "";
    return html`<p>
        ${found.note ?? `${format.plural(found.proposed.length, "proposal")}${cost}. Check each.`}
      </p>
      ${
        found.dropped.length
          ? html`<ul role="list" class="small">
              ${found.dropped.map(({ what, why }) => html`<li>Left out: ${what}: ${why}</li>`)}
            </ul>`
          : nothing
      }`;
  }
}
