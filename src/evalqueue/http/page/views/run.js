// What one evaluation finds, while it goes on and afterwards.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { BatchRun } from "../batch.js";
import { StressRun } from "../stress.js";
import * as format from "../format.js";
import { actions, name as jobName } from "../jobs.js";
import { badge, banner, errorText, progress } from "../parts.js";
import { steady } from "../steady.js";
import { isOver, said } from "../verdicts.js";

const STRESS = "evaluate-adversarial";
const LEAST_MS = 100; // between two looks at how the run stands

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, query: URLSearchParams, signal: AbortSignal }} place
 * @returns {import("../app.js").View}
 */
export default function run(app, { params: { id = "" }, query, signal }) {
  /** @type {import("../client/index.js").EvalRun | null} */
  let found = null;
  /** @type {BatchRun | StressRun | null} */
  let content = null;
  /** @type {unknown} */
  let broken = null;
  let seen = "";

  const read = steady(
    async () => {
      const got = await app.api.runs.get(id);
      if (signal.aborted) return;
      found = got;
      broken = null;
      content ??= new (got.command === STRESS ? StressRun : BatchRun)(app, id, query, signal);
      content.look({ anew: isOver(got.status) });
      if (got.job_id && !app.live.jobs.has(got.job_id)) {
        await app.api.jobs.get(got.job_id).then(
          (job) => app.live.take(job),
          () => {},
        ); // it may be pruned: the run stays
      }
      app.refresh();
    },
    {
      signal,
      restMs: LEAST_MS,
      failed: (error) => {
        broken = app.noted(error);
        app.refresh();
      },
    },
  );

  app.live.listen(signal, {
    job: (job) => {
      if (job.run_id !== id) return;
      const now = `${job.id} ${job.status}`;
      if (now !== seen) read();
      else content?.look({});
      seen = now;
    },
    resync: read,
  });
  read();

  return {
    get title() {
      return found ? `${share()}${title(found)}` : "Run";
    },
    get keys() {
      return content?.keys ?? {};
    },
    render() {
      const problem = broken
        ? banner(
            "failed",
            found ? "It can't be read how this run stands" : "This run can't be shown",
            errorText(broken),
          )
        : nothing;
      if (!found) return problem;
      const job = found.job_id ? app.live.jobs.get(found.job_id) : undefined;
      return html`<div class="crumbs">
          <a href="/runs">Runs</a><span class="mono">${format.shortId(id)}</span>
        </div>
        <div class="page-head">
          <div>
            <h1>${title(found)}</h1>
            ${about(found)}
          </div>
          <div class="row">
            ${job ? actions(app, job) : nothing}${
              found.job_id ? html`<a class="button" href="/jobs/${found.job_id}">Job</a>` : nothing
            }
          </div>
        </div>
        <div class="stack">${problem}${state(found, job)}${content?.render()}</div>`;
    },
  };

  /** How far it is, for whoever only sees the tab. */
  function share() {
    const job = found?.job_id ? app.live.jobs.get(found.job_id) : undefined;
    if (job?.status !== "running" || !job.progress.total) return "";
    return `${Math.floor((100 * job.progress.current) / job.progress.total)} % · `;
  }

  /** @param {import("../client/index.js").EvalRun} run */
  function title(run) {
    return run.name || (run.command === STRESS ? "Stress test" : "Evaluation");
  }

  /** @param {import("../client/index.js").EvalRun} run */
  function about(run) {
    const isSimulated = run.llm_provider === "simulated";
    return html`<div class="row small">
        <span>${badge(run.status)}</span>
        <span class="quiet"
          >${[
            run.app_id,
            run.data_path,
            [run.llm_provider, run.llm_model].filter(Boolean).join(", "),
            run.duration_seconds == null ? "" : format.duration(run.duration_seconds),
            format.moment(run.created_at),
          ]
            .filter(Boolean)
            .join(" · ")}</span
        >
        ${
          isSimulated
            ? html`<span
                class="badge tone-warn"
                title="Answers are gold labels with noise, not judgements"
                >simulated judge</span
              >`
            : nothing
        }
      </div>
      ${run.description ? html`<p class="quiet small">${run.description}</p>` : nothing}`;
  }

  /** @param {import("../client/index.js").EvalRun} run @param {import("../live.js").JobEvent | undefined} job */
  function state(run, job) {
    const reason = run.error_message ?? job?.error_message ?? "";
    switch (run.status) {
      case "cancelled":
        return banner(
          "cancelled",
          "Cancelled",
          `${reason ? `${reason}\n` : ""}What was found until then is kept; nothing more is evaluated. Retry goes on with the rest.`,
        );
      case "failed":
        return banner("failed", "Failed", reason);
      case "completed_with_errors":
        return banner(
          "completed_with_errors",
          "Completed, partly",
          typeof run.summary?.message === "string"
            ? run.summary.message
            : "Some verdicts are missing: they are in no rate. Retry asks for them again.",
        );
      case "completed":
        return nothing;
      default:
        return job
          ? html`<div class="card">
              ${progress({
                ...job.progress,
                status: job.status,
                ...app.live.pace(job),
                label: `Progress of ${jobName(job)}`,
              })}
              <p class="visually-hidden" role="status">${said(job.status)}</p>
              <p class="small quiet">
                ${job.status === "queued" ? waits(job) : job.progress.message}
              </p>
            </div>`
          : nothing;
    }
  }

  /** @param {import("../live.js").JobEvent} job */
  function waits(job) {
    if (job.scheduled_at) return `Waiting: next try at ${format.moment(job.scheduled_at)}`;
    if (!job.ahead) return "Waiting for a worker";
    return `Waiting for a worker, ${format.count(job.ahead)} ahead`;
  }
}
