// One job: how it stands, what was tried, what it was asked.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import * as format from "../format.js";
import { actions, name, standing } from "../jobs.js";
import { age, badge, banner, errorText, progress } from "../parts.js";

/**
 * @param {import("../app.js").App} app @param {{ params: Record<string, string>, signal: AbortSignal }} place
 * @returns {import("../app.js").View}
 */
export default function job(app, { params: { id = "" }, signal }) {
  /** @type {import("../client/index.js").Job | null} */
  let found = null;
  /** @type {import("../client/index.js").Attempt[]} */
  let attempts = [];
  /** @type {unknown} */
  let broken = null;

  const watching = app.api.watch(id, (job) => {
    const moved = !found || found.attempt !== job.attempt || found.status !== job.status;
    found = job;
    app.live.take(job);
    if (moved) void readAttempts();
  });
  signal.addEventListener("abort", () => watching.stop());
  watching.done.catch((error) => {
    if (signal.aborted) return;
    broken = app.noted(error);
    app.refresh();
  });

  async function readAttempts() {
    const read = await app.attempt(() => app.api.jobs.attempts(id), signal);
    if (signal.aborted || !read) return;
    attempts = read;
    app.refresh();
  }

  return {
    get title() {
      return found ? name(found) : "Job";
    },
    render() {
      if (broken) return banner("failed", "This job can't be shown", errorText(broken));
      if (!found) return nothing;
      const live = {
        ...found,
        ...app.live.jobs.get(id),
        params: found.params,
        result: found.result,
      };
      return html`<div class="crumbs">
          <a href="/">Jobs</a><span class="mono">${format.shortId(id)}</span>
        </div>
        <div class="page-head">
          <div>
            <h1>${name(live)}</h1>
            <div class="row">${badge(live.status)} <span class="quiet">${live.job_type}</span></div>
          </div>
          <div class="row">${actions(app, live)}</div>
        </div>
        <div class="stack">
          <div class="card stack-tight">
            ${progress({
              ...live.progress,
              status: live.status,
              ...app.live.pace(live),
              label: "Progress",
            })}
            <p class="small quiet">${live.progress.message}</p>
            ${standing(live)}
          </div>
          ${
            live.error_message
              ? banner(
                  live.status,
                  live.status === "failed" ? "It failed" : "Reason",
                  live.error_message,
                )
              : nothing
          }
          ${
            live.continued_by
              ? banner(
                  "running",
                  "Continued",
                  html`What was missing or failed is done by
                    <a href="/jobs/${live.continued_by}">another job</a>.`,
                )
              : nothing
          }
          <div class="grid">${facts(live)}${tried()}</div>
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
  function facts(job) {
    const told = [
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
              html`<a class="mono" href="/jobs/${job.retry_of}"
                >${format.shortId(job.retry_of)}</a
              >`,
            ],
          ]
        : []),
      ...(job.after
        ? [
            [
              "Starts after",
              html`<a class="mono" href="/jobs/${job.after}">${format.shortId(job.after)}</a>`,
            ],
          ]
        : []),
    ];
    return html`<section class="card">
      <h2>Facts</h2>
      <dl class="facts">
        ${told.map(
          ([what, is]) =>
            html`<dt>${what}</dt>
              <dd>${is}</dd>`,
        )}
      </dl>
    </section>`;
  }

  function tried() {
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
                          each.ended_at ? format.duration(each.duration_seconds) : "still runs"
                        }</span
                      >
                    </div>
                    ${each.error ? html`<pre class="small wrong">${each.error}</pre>` : nothing}
                  </li>`,
              )}
            </ol>`
          : html`<p class="quiet">None yet: it waits for a worker.</p>`
      }
    </section>`;
  }
}
