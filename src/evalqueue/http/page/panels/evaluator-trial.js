// Evaluators tried side by side on a few conversations, before an app is saved. A worker asks the
// judge, in a job that can be cancelled; what it found is in no run.

import { badge, banner, progress } from "../components/basics.js";
import { errorText } from "../data/errors.js";
import { isOver } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const MOST = 10; // conversations

/** @typedef {import("../client/index.js").Tried} Tried */
/** @typedef {Tried["threads"][number]["findings"][number]} Finding */
/** @typedef {Finding["scores"][number]} TriedScore */

export class EvaluatorTrial {
  /**
   * @param {import("../app.js").App} app
   * @param {AbortSignal} signal of the view
   */
  constructor(app, signal) {
    this.app = app;
    this.signal = signal;
    /** @type {import("../client/index.js").Dataset[]} */
    this.datasets = [];
    this.datasetId = "";
    this.count = 3;
    /** @type {Set<string>} names that are not as they are by default */
    this.switched = new Set();
    /** @type {Tried | null} */
    this.tried = null;
    /** @type {import("../client/index.js").Job | null} */
    this.job = null;
    this.isSubmitting = false;
    /** @type {unknown} */
    this.error = null;
    /** @type {import("../client/index.js").Watch<any> | null} */
    this.watching = null;
    signal.addEventListener("abort", () => this.watching?.stop());
  }

  /** @param {string} [datasetId] to choose */
  async load(datasetId) {
    this.datasets = await this.app.api.datasets.list({ limit: 100, signal: this.signal });
    this.datasetId = datasetId || this.datasets[0]?.id || "";
    this.app.refresh();
  }

  /**
   * @param {import("../client/index.js").AppDetails} checked the app as it is now
   * @returns {{ own: string[], others: string[] }}
   */
  names(checked) {
    const entries = /** @type {{ name?: string, use?: string }[]} */ (
      checked.document.evaluators ?? []
    );
    const own = entries.map(({ name, use }) => name ?? use ?? "");
    return { own, others: checked.evaluators.filter((name) => !own.includes(name)) };
  }

  /** @param {import("../client/index.js").AppDetails} checked */
  chosen(checked) {
    const { own, others } = this.names(checked);
    const isOn = (/** @type {string} */ name) => this.switched.has(name) !== own.includes(name);
    return [...own, ...others].filter(isOn);
  }

  /**
   * @param {import("../client/index.js").AppDetails} checked
   * @param {{ text?: string, notation?: any, document?: Record<string, unknown> }} draft
   */
  async start(checked, draft) {
    this.watching?.stop();
    this.isSubmitting = true;
    this.error = null;
    this.tried = null;
    this.job = null;
    this.app.refresh();
    try {
      const submitted = await this.app.api.tryEvaluators(
        {
          dataset_id: this.datasetId,
          count: this.count,
          evaluators: this.chosen(checked),
          ...draft,
        },
        { signal: this.signal },
      );
      this.watching = this.app.api.watch(submitted.id, (job) => void this.show(job));
    } catch (error) {
      if (!this.signal.aborted) this.error = this.app.reportError(error);
    }
    this.isSubmitting = false;
    this.app.refresh();
  }

  /** @param {import("../client/index.js").Job} job */
  async show(job) {
    this.job = job;
    this.app.refresh();
    try {
      const tried = await this.app.api.tried(job.id, { signal: this.signal });
      if (this.job?.id === job.id) this.tried = tried;
    } catch (error) {
      if (!this.signal.aborted) this.error = this.app.reportError(error);
    }
    this.app.refresh();
  }

  cancel() {
    const { job } = this;
    if (job) void this.app.attempt(() => this.app.api.jobs.cancel(job.id), this.signal);
  }

  /**
   * @param {import("../client/index.js").AppDetails | null} checked null: it has mistakes
   * @param {() => { text?: string, notation?: any, document?: Record<string, unknown> }} draft
   */
  render(checked, draft) {
    return html`<section class="card stack-tight" aria-label="Try the evaluators">
      <h2>Try the evaluators</h2>
      <p class="hint">
        On up to ${MOST} conversations, side by side. The judge is asked, and nothing is stored as a
        run.
      </p>
      ${checked ? this.fields(checked, draft) : html`<p class="quiet">Correct the app first.</p>`}
      ${this.error ? banner("failed", "They can't be tried", errorText(this.error)) : nothing}
      ${this.job ? this.status(this.job) : nothing}
      ${this.tried ? this.results(this.tried) : nothing}
    </section>`;
  }

  /**
   * @param {import("../client/index.js").AppDetails} checked
   * @param {() => { text?: string, notation?: any, document?: Record<string, unknown> }} draft
   */
  fields(checked, draft) {
    if (!this.datasets.length) {
      return html`<p class="quiet">There is no dataset yet: upload one under New evaluation.</p>`;
    }
    const { own, others } = this.names(checked);
    const chosen = this.chosen(checked);
    const isBusy = this.isSubmitting || (this.job !== null && !isOver(this.job.status));
    return html`<div class="grid narrow">
        <label class="field"
          ><span>Dataset</span
          ><select
            @change=${(/** @type {Event} */ { target }) => {
              this.datasetId = /** @type {HTMLSelectElement} */ (target).value;
              this.app.refresh();
            }}
          >
            ${this.datasets.map(
              ({ id, name }) =>
                html`<option value=${id} ?selected=${id === this.datasetId}>${name}</option>`,
            )}
          </select></label
        >
        <label class="field"
          ><span>Conversations: the first ${this.count}</span
          ><input
            type="range"
            min="1"
            max=${MOST}
            .value=${String(this.count)}
            @input=${(/** @type {Event} */ { target }) => {
              this.count = Number(/** @type {HTMLInputElement} */ (target).value);
              this.app.refresh();
            }}
        /></label>
      </div>
      <div class="row" role="group" aria-label="Evaluators">
        ${[...own, ...others].map(
          (name) =>
            html`<label class="choice"
              ><input
                type="checkbox"
                .checked=${chosen.includes(name)}
                @change=${() => {
                  if (!this.switched.delete(name)) this.switched.add(name);
                  this.app.refresh();
                }}
              /><span>${name}</span></label
            >`,
        )}
      </div>
      <div class="row">
        <button
          type="button"
          class="primary"
          ?disabled=${isBusy || !chosen.length}
          @click=${() => this.start(checked, draft())}
        >
          ${isBusy ? "Trying …" : "Try"}
        </button>
        ${
          this.job && !isOver(this.job.status)
            ? html`<button type="button" @click=${() => this.cancel()}>Cancel</button>`
            : nothing
        }
      </div>`;
  }

  /** @param {import("../client/index.js").Job} job */
  status(job) {
    const { current, total, message } = job.progress;
    return html`<div class="stack-tight" role="status">
      ${
        isOver(job.status)
          ? html`<p>${badge(job.status)} ${this.cost()}</p>`
          : progress({ current, total, status: job.status, name: "Conversations" })
      }
      ${isOver(job.status) || !message ? nothing : html`<p class="small quiet">${message}</p>`}
      ${job.error_message ? html`<p class="wrong">${job.error_message}</p>` : nothing}
    </div>`;
  }

  /** What the calls came to. */
  cost() {
    const findings = this.tried?.threads.flatMap((each) => each.findings) ?? [];
    if (!findings.length) return nothing;
    const calls = findings.reduce((sum, each) => sum + each.calls, 0);
    const known = findings.filter(({ cost_usd }) => cost_usd !== null);
    const dollars = known.reduce((sum, { cost_usd }) => sum + Number(cost_usd), 0);
    return html`<span class="quiet"
      >${format.plural(calls, "LLM call")},
      ${known.length ? format.dollars(String(dollars)) : "price unknown"}</span
    >`;
  }

  /** @param {Tried} tried */
  results({ evaluators, thread_ids, threads }) {
    const done = new Map(threads.map((each) => [each.thread_id, each.findings]));
    return html`<div class="scroll" tabindex="0" role="region" aria-label="What they found">
      <table class="table cards side-by-side">
        <caption class="visually-hidden">
          What the evaluators found
        </caption>
        <thead>
          <tr>
            <th scope="col">Conversation</th>
            ${evaluators.map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${thread_ids.map((threadId) => {
            const findings = done.get(threadId);
            return html`<tr>
              <th scope="row" class="mono small">${threadId}</th>
              ${evaluators.map((name) => {
                const found = findings?.find(({ evaluator }) => evaluator === name);
                return html`<td data-label=${name}>
                  ${found ? this.finding(found) : html`<span class="quiet">…</span>`}
                </td>`;
              })}
            </tr>`;
          })}
        </tbody>
      </table>
    </div>`;
  }

  /** @param {Finding} found */
  finding({ scores, failures, calls }) {
    if (!calls && !scores.some(({ value }) => value !== null)) {
      return html`<span class="quiet">nothing to judge</span>`;
    }
    const ofTurns = scores.filter(({ turn }) => turn !== null);
    const whole = scores.filter(({ turn }) => turn === null);
    return html`<div class="stack-tight">
      ${whole.map((each) => this.score(each))}
      ${
        ofTurns.length
          ? html`<details ?open=${!whole.some(({ reasoning }) => reasoning)}>
              <summary>${format.plural(ofTurns.length, "score")} of turns</summary>
              <div class="stack-tight">${ofTurns.map((each) => this.score(each))}</div>
            </details>`
          : nothing
      }
      ${failures.map(
        ({ turn, reason, message }) =>
          html`<p class="wrong">
            No verdict${turn === null ? "" : ` on turn ${turn}`}: ${reason}: ${message}
          </p>`,
      )}
    </div>`;
  }

  /** @param {TriedScore} score */
  score({ name, turn, value, reasoning, evidence, failure }) {
    const text = failure ?? (value === null ? "not measured" : String(value));
    return html`<div class="small">
      ${badge(text)} <span class="quiet">${name}${turn === null ? "" : `, turn ${turn}`}</span>
      ${reasoning ? html`<p class="text">${reasoning}</p>` : nothing}
      ${evidence.map(
        (each) =>
          html`<p class="text quiet">
            “${each.quote}”${each.turn == null ? nothing : html` (turn ${each.turn})`}${
              each.in_transcript === false ? " – not in what was said" : ""
            }
          </p>`,
      )}
    </div>`;
  }
}
