// The name, the status details and the buttons of a job, the same in every view.

import { isOver } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

/** @typedef {import("../data/live-jobs.js").JobEvent} Job */

/** @param {Job} job */
export function jobName(job) {
  return job.name || job.job_type;
}

/**
 * A link to the form for a new evaluation. Nothing with a token that may only read.
 * @param {import("../app.js").App} app
 * @param {string} [text]
 */
export function newEvaluationLink(app, text = "New evaluation") {
  return app.session?.right === "read"
    ? nothing
    : html`<a class="button primary" href=${address("/new")}>${text}</a>`;
}

/**
 * Why the job has its status: what it waits for, its next attempt or its error.
 * @param {import("../app.js").App} app
 * @param {Job} job
 */
export function statusDetails(app, job) {
  if (job.status === "queued") {
    return html`<div class="small quiet">${waitingText(app, job)}</div>`;
  }
  if (job.error_message) {
    return html`<div class="small wrong">${firstLine(job.error_message)}</div>`;
  }
  return nothing;
}

/**
 * What a queued job waits for.
 * @param {import("../app.js").App} app
 * @param {Job} job
 */
export function waitingText(app, job) {
  const failures = job.failed_attempts
    ? `, ${format.plural(job.failed_attempts, "attempt")} of ${job.max_attempts} failed`
    : "";
  if (job.scheduled_at) return `not before ${format.moment(job.scheduled_at)}${failures}`;
  const reason = app.waiting.of(job);
  const before = job.ahead
    ? `${job.ahead >= 1000 ? "1,000 or more" : format.count(job.ahead)} ahead`
    : "";
  if (reason) return `${[reason, before].filter(Boolean).join(", ")}${failures}`;
  if (job.ahead == null) return `waiting${failures}`;
  return `${before || "next in queue"}${failures}`;
}

/** @param {string} text */
function firstLine(text) {
  return text.split("\n", 1)[0];
}

/**
 * @param {import("../app.js").App} app
 * @param {Job} job
 * @param {string} [size] a class of buttons
 */
export function jobActions(app, job, size = "") {
  const run =
    job.run_id && app.route.view !== "run"
      ? html`<a class="button ${size}" href=${address(`/runs/${job.run_id}`)}>Results</a>`
      : nothing;
  const mayChange = app.session?.right !== "read";
  return html`${run}
  ${
    mayChange && !isOver(job.status)
      ? html`<button
          type="button"
          class="danger ${size}"
          @click=${() => cancel(app, job)}
          aria-label="Cancel ${jobName(job)}"
        >
          Cancel
        </button>`
      : nothing
  }
  ${
    mayChange && job.retryable
      ? html`<button
          type="button"
          class=${size}
          @click=${() => retry(app, job)}
          aria-label="Retry ${jobName(job)}"
        >
          Retry
        </button>`
      : nothing
  }`;
}

/** @type {Set<string>} ids of jobs with an action in progress */
const busyJobs = new Set();

/**
 * Do something with a job, unless an action on it is in progress: a double click counts once.
 * @param {import("../app.js").App} app @param {Job} job @param {() => Promise<void>} work
 */
async function once(app, job, work) {
  if (busyJobs.has(job.id)) return;
  busyJobs.add(job.id);
  await app.attempt(work);
  busyJobs.delete(job.id);
}

/** @param {import("../app.js").App} app @param {Job} job */
async function cancel(app, job) {
  await once(app, job, async () => {
    await app.api.jobs.cancel(job.id);
    app.live.update(await app.api.jobs.get(job.id));
    app.toast(`Cancelled: ${jobName(job)}. Its worker evaluates nothing more.`);
  });
}

/** @param {import("../app.js").App} app @param {Job} job */
async function retry(app, job) {
  const { route } = app;
  await once(app, job, async () => {
    const next = await app.api.jobs.retry(job.id);
    app.live.update(await app.api.jobs.get(next.id));
    app.live.update(await app.api.jobs.get(job.id));
    app.toast("A new job continues with what is missing or failed.");
    if (route === app.route && route.view === "job") app.go(`/jobs/${next.id}`);
  });
}
