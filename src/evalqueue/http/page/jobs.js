// What is said of a job, and what can be done with it, wherever it is shown.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import * as format from "./format.js";
import { isOver } from "./verdicts.js";

/** @typedef {import("./live.js").JobEvent} Job  all that is told of a job to those who watch */

/** @param {Job} job */
export function name(job) {
  return job.name || job.job_type;
}

/** The way to a new evaluation, for whoever may start one. @param {import("./app.js").App} app @param {string} [label] */
export function start(app, label = "New evaluation") {
  return app.session?.right === "read"
    ? nothing
    : html`<a class="button primary" href="/new">${label}</a>`;
}

/** Where it stands, in words: its turn, its reason, its next try. @param {Job} job */
export function standing(job) {
  if (job.status === "queued") return html`<div class="small quiet">${waiting(job)}</div>`;
  if (job.error_message)
    return html`<div class="small wrong">${firstLine(job.error_message)}</div>`;
  return nothing;
}

/** @param {Job} job */
function waiting(job) {
  const tried = job.failed_attempts
    ? `, ${format.plural(job.failed_attempts, "attempt")} of ${job.max_attempts} failed`
    : "";
  if (job.scheduled_at) return `not before ${format.moment(job.scheduled_at)}${tried}`;
  if (job.ahead == null) return `waiting${tried}`;
  const ahead =
    job.ahead === 0
      ? "next in line"
      : `${job.ahead >= 1000 ? "1,000 or more" : format.count(job.ahead)} ahead`;
  return `${ahead}${tried}`;
}

/** @param {string} text */
export function firstLine(text) {
  return text.split("\n", 1)[0];
}

/** @param {import("./app.js").App} app @param {Job} job @param {string} [size] */
export function actions(app, job, size = "") {
  const run =
    job.run_id && app.place.view !== "run"
      ? html`<a class="button ${size}" href="/runs/${job.run_id}">Results</a>`
      : nothing;
  const may = app.session?.right !== "read";
  return html` ${run}
  ${
    may && !isOver(job.status)
      ? html`<button
          type="button"
          class="danger ${size}"
          @click=${() => cancel(app, job)}
          aria-label="Cancel ${name(job)}"
        >
          Cancel
        </button>`
      : nothing
  }
  ${
    may && job.retryable
      ? html`<button
          type="button"
          class=${size}
          @click=${() => retry(app, job)}
          aria-label="Retry ${name(job)}"
        >
          Retry
        </button>`
      : nothing
  }`;
}

/** What is being done with which job: pressed twice is meant once. @type {Set<string>} */
const doing = new Set();

/** @param {import("./app.js").App} app @param {Job} job @param {() => Promise<void>} work */
async function once(app, job, work) {
  if (doing.has(job.id)) return;
  doing.add(job.id);
  await app.attempt(work);
  doing.delete(job.id);
}

/** @param {import("./app.js").App} app @param {Job} job */
async function cancel(app, job) {
  await once(app, job, async () => {
    await app.api.jobs.cancel(job.id);
    app.live.take(await app.api.jobs.get(job.id));
    app.toast(`Cancelled: ${name(job)}. Nothing more is evaluated, whatever its worker does.`);
  });
}

/** @param {import("./app.js").App} app @param {Job} job */
async function retry(app, job) {
  const { place } = app;
  await once(app, job, async () => {
    const next = await app.api.jobs.retry(job.id);
    app.live.take(await app.api.jobs.get(next.id));
    app.live.take(await app.api.jobs.get(job.id));
    app.toast("A new job goes on with what is missing or failed.");
    if (place === app.place && place.view === "job") app.go(`/jobs/${next.id}`);
  });
}
