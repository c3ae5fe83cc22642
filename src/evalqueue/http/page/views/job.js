// One job: its status, attempts, params and result.

import { age, badge, banner, progress } from "../components/basics.js";
import { jobActions, jobName, statusDetails } from "../components/job-controls.js";
import { errorText } from "../data/errors.js";
import * as format from "../format/values.js";
import { driftOf, driftResults } from "../panels/drift-results.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function job(app, { params: { id = "" }, signal }) {
  /** @type {import("../client/index.js").Job | null} */
  let currentJob = null;
  /** @type {import("../client/index.js").Attempt[]} */
  let attempts = [];
  /** @type {unknown} */
  let loadError = null;

  const watch = app.api.watch(id, (job) => {
    const isNewAttempt = currentJob?.attempt !== job.attempt || currentJob.status !== job.status;
    currentJob = job;
    app.live.update(job);
    if (isNewAttempt) void loadAttempts();
  });
  signal.addEventListener("abort", () => watch.stop());
  watch.done.catch((error) => {
    if (signal.aborted) return;
    loadError = app.reportError(error);
    app.refresh();
  });

  async function loadAttempts() {
    const loaded = await app.attempt(() => app.api.jobs.attempts(id), signal);
    if (signal.aborted || !loaded) return;
    attempts = loaded;
    app.refresh();
  }

  return {
    get title() {
      return currentJob ? jobName(currentJob) : "Job";
    },
    render() {
      if (loadError) return banner("failed", "This job can't be shown", errorText(loadError));
      if (!currentJob) return nothing;
      const live = {
        ...currentJob,
        ...app.live.jobs.get(id),
        params: currentJob.params,
        result: currentJob.result,
      };
      const drift = driftOf(live);
      return html`<div class="crumbs">
          <a href=${address("/")}>Jobs</a><span class="mono">${format.shortId(id)}</span>
        </div>
        <div class="page-head">
          <div>
            <h1>${jobName(live)}</h1>
            <div class="row">${badge(live.status)} <span class="quiet">${live.job_type}</span></div>
          </div>
          <div class="row">${jobActions(app, live)}</div>
        </div>
        <div class="stack">
          <div class="card stack-tight">
            ${progress({
              ...live.progress,
              status: live.status,
              ...app.live.pace(live),
              name: "Progress",
            })}
            <p class="small quiet">${live.progress.message}</p>
            ${statusDetails(app, live)}
          </div>
          ${
            live.error_message
              ? banner(
                  live.status,
                  live.status === "failed" ? "Failed" : "Reason",
                  live.error_message,
                )
              : nothing
          }
          ${
            live.continued_by
              ? banner(
                  "running",
                  "Continued",
                  html`The missing and failed items are evaluated by
                    <a href=${address(`/jobs/${live.continued_by}`)}>another job</a>.`,
                )
              : nothing
          }
          ${drift ? driftResults(drift) : nothing}
          <div class="grid">${factsCard(live)}${attemptsCard()}</div>
          <div class="grid">
            <section class="card">
              <h2>Params</h2>
              <pre class="kv" tabindex="0">${format.pretty(live.params)}</pre>
            </section>
            ${
              live.result
                ? html`<section class="card">
                    <h2>Result</h2>
                    <pre class="kv" tabindex="0">${format.pretty(live.result)}</pre>
                  </section>`
                : nothing
            }
          </div>
        </div>`;
    },
  };

  /** @param {import("../client/index.js").Job} job */
  function factsCard(job) {
    const facts = [
      ["Id", html`<span class="mono">${job.id}</span>`],
      ["Owner", job.owner],
      ["Queue", `${job.queue}, priority ${job.priority}`],
      [
        "Submitted",
        html`${format.moment(job.created_at)}
          <span class="quiet">(${age(job.created_at, app.now)})</span>`,
      ],
      ["Started", format.moment(job.started_at)],
      ["Ended", format.moment(job.completed_at)],
      ["Worker", job.worker ?? format.NOTHING],
      ["Failed attempts", `${job.failed_attempts} of ${job.max_attempts}`],
      ...(job.retry_of
        ? [
            [
              "Continues",
              html`<a class="mono" href=${address(`/jobs/${job.retry_of}`)}
                >${format.shortId(job.retry_of)}</a
              >`,
            ],
          ]
        : []),
      ...(job.after
        ? [
            [
              "Starts after",
              html`<a class="mono" href=${address(`/jobs/${job.after}`)}
                >${format.shortId(job.after)}</a
              >`,
            ],
          ]
        : []),
    ];
    return html`<section class="card">
      <h2>Facts</h2>
      <dl class="facts">
        ${facts.map(
          ([name, value]) =>
            html`<dt>${name}</dt>
              <dd>${value}</dd>`,
        )}
      </dl>
    </section>`;
  }

  function attemptsCard() {
    return html`<section class="card">
      <h2>Attempts</h2>
      ${
        attempts.length
          ? html`<ol class="stack-tight" role="list">
              ${attempts.map(
                (each) =>
                  html`<li class="stack-tight">
                    <div class="row">
                      <strong>${each.attempt}</strong>${badge(each.outcome, "running")}
                      <span class="small quiet"
                        >${each.worker} · ${format.moment(each.started_at)} ·
                        ${
                          each.ended_at ? format.duration(each.duration_seconds) : "still running"
                        }</span
                      >
                    </div>
                    ${each.error ? html`<pre class="small wrong">${each.error}</pre>` : nothing}
                  </li>`,
              )}
            </ol>`
          : html`<p class="quiet">None yet: the job waits for a worker.</p>`
      }
    </section>`;
  }
}
