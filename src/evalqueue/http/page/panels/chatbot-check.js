// Whether a worker can reach a chatbot: it greets it, in a job of its own. What the chatbot answers is
// not shown.

import { banner } from "../components/basics.js";
import { errorText } from "../data/errors.js";
import { isOver } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../client/index.js").Job} Job */
/** @typedef {{ app_id?: string, chatbot: Record<string, unknown> }} Params of the job */
/** @typedef {{ credential: string | null, reason: string | null, answered_ms: number | null }} Found */

export class ChatbotCheck {
  /**
   * @param {import("../app.js").App} app
   * @param {AbortSignal} signal of the view
   */
  constructor(app, signal) {
    this.app = app;
    this.signal = signal;
    /** What was checked, as JSON. */
    this.checked = "";
    /** @type {Job | null} */
    this.job = null;
    /** @type {unknown} */
    this.error = null;
    /** @type {import("../client/index.js").Watch<any> | null} */
    this.watching = null;
    /** @type {(isReached: boolean) => void} */
    this.settle = () => {};
    signal.addEventListener("abort", () => this.forget());
  }

  /** Whether a worker has reached this chatbot. @param {Params} params */
  isReached(params) {
    return this.job?.status === "completed" && this.checked === JSON.stringify(params);
  }

  get isUnderWay() {
    return this.checked !== "" && !this.error && !(this.job && isOver(this.job.status));
  }

  /** Forget the check of another chatbot; one that is under way is cancelled. */
  forget() {
    this.watching?.stop();
    const { job } = this;
    if (job && !isOver(job.status)) this.app.api.jobs.cancel(job.id).catch(() => {}); // it ends anyway
    this.checked = "";
    this.job = null;
    this.error = null;
    this.settle(false);
  }

  /** Returns whether a worker has reached it. @param {Params} params @returns {Promise<boolean>} */
  async start(params) {
    this.forget();
    const checked = JSON.stringify(params);
    this.checked = checked;
    this.app.refresh();
    try {
      const submitted = await this.app.api.jobs.submit("reach-chatbot", params);
      if (this.checked !== checked) {
        void this.app.attempt(() => this.app.api.jobs.cancel(submitted.id), this.signal);
        return false;
      }
      return await new Promise((resolve) => {
        this.settle = resolve;
        this.watching = this.app.api.watch(submitted.id, (/** @type {Job} */ job) => {
          this.job = job;
          if (isOver(job.status)) resolve(job.status === "completed");
          this.app.refresh();
        });
      });
    } catch (error) {
      if (this.checked === checked && !this.signal.aborted)
        this.error = this.app.reportError(error);
      this.app.refresh();
      return false;
    }
  }

  /** @param {Params} params as they are now */
  render(params) {
    if (this.checked !== JSON.stringify(params)) return nothing;
    return html`<div id="reached" role="status">${this.status()}</div>`;
  }

  status() {
    if (this.error) return banner("failed", "Refused", errorText(this.error));
    const { job } = this;
    if (!job || job.status === "queued") {
      const why = job ? this.app.waiting.of(job) : "";
      return html`<p class=${why ? "wrong" : "quiet"}>${why || "Waiting for a worker …"}</p>`;
    }
    if (!isOver(job.status)) return html`<p class="quiet">A worker greets the chatbot …</p>`;
    if (job.status !== "completed") {
      return banner("failed", "Not reached", job.error_message ?? job.status);
    }
    const found = /** @type {Found[]} */ (job.result?.credentials ?? []);
    return html`<p>
        <span class="badge tone-good">Reached</span> <span class="quiet">by a worker</span>
      </p>
      <ul role="list" class="small">
        ${found.map(
          ({ credential, answered_ms: ms }) =>
            html`<li>
              ${credential ?? "without a credential"}: answered in ${format.milliseconds(ms)}
            </li>`,
        )}
      </ul>`;
  }
}
