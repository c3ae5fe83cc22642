// One run: its status and its results, while it goes on and afterwards.

import { badge, banner, loading, progress } from "../components/basics.js";
import { jobActions, jobName, waitingText } from "../components/job-controls.js";
import { errorText } from "../data/errors.js";
import { refresher } from "../data/refresher.js";
import { isOver, label } from "../format/labels.js";
import * as format from "../format/values.js";
import { AdversarialResults } from "../panels/adversarial-results.js";
import { BatchResults } from "../panels/batch-results.js";
import { CompareWith } from "../panels/compare-with.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const ADVERSARIAL = "evaluate-adversarial";
const MIN_INTERVAL_MS = 100;

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function run(app, { params: { id = "" }, query, signal }) {
  /** @type {import("../client/index.js").EvalRun | null} */
  let currentRun = null;
  /** @type {BatchResults | AdversarialResults | null} */
  let results = null;
  /** @type {CompareWith | null} null: it is an adversarial test */
  let compareWith = null;
  /** @type {unknown} */
  let loadError = null;
  let lastStatus = ""; // of the job, with its id

  const load = refresher(
    async () => {
      const loaded = await app.api.runs.get(id);
      if (signal.aborted) return;
      currentRun = loaded;
      loadError = null;
      results ??= new (loaded.command === ADVERSARIAL ? AdversarialResults : BatchResults)(
        app,
        id,
        query,
        signal,
      );
      if (loaded.command !== ADVERSARIAL) compareWith ??= new CompareWith(app, loaded, signal);
      results.refresh({ reload: isOver(loaded.status) });
      if (loaded.job_id && !app.live.jobs.has(loaded.job_id)) {
        await app.api.jobs.get(loaded.job_id).then(
          (job) => app.live.update(job),
          () => {}, // the job may be pruned already
        );
      }
      app.refresh();
    },
    {
      signal,
      minIntervalMs: MIN_INTERVAL_MS,
      onError: (error) => {
        loadError = app.reportError(error);
        app.refresh();
      },
    },
  );

  app.live.listen(signal, {
    job: (job) => {
      if (job.run_id !== id) return;
      const status = `${job.id} ${job.status}`;
      if (status !== lastStatus) load();
      else results?.refresh({});
      lastStatus = status;
    },
    resync: load,
  });
  load();

  return {
    get title() {
      return currentRun ? `${progressText()}${title(currentRun)}` : "Run";
    },
    get keys() {
      return results?.keys ?? {};
    },
    render() {
      const problem = loadError
        ? banner(
            "failed",
            currentRun ? "This run can't be refreshed" : "This run can't be shown",
            errorText(loadError),
          )
        : nothing;
      if (!currentRun) return loadError ? problem : loading();
      const job = currentRun.job_id ? app.live.jobs.get(currentRun.job_id) : undefined;
      return html`<div class="crumbs">
          <a href=${address("/runs")}>Runs</a><span class="mono">${format.shortId(id)}</span>
        </div>
        <div class="page-head">
          <div>
            <h1>${title(currentRun)}</h1>
            ${description(currentRun)}
          </div>
          <div class="row">
            ${compareWith?.render()}${job ? jobActions(app, job) : nothing}${
              currentRun.job_id
                ? html`<a class="button" href=${address(`/jobs/${currentRun.job_id}`)}>Job</a>`
                : nothing
            }${
              results
                ? html`<a
                    class="button"
                    href=${address(`/api/eval-runs/${id}/report`)}
                    target="_blank"
                    >Report</a
                  >`
                : nothing
            }
          </div>
        </div>
        <div class="stack">
          ${problem}${statusBanner(currentRun, job)}${warnings(currentRun)}${results?.render()}
        </div>`;
    },
  };

  /** The progress in percent, for the title of the tab. */
  function progressText() {
    const job = currentRun?.job_id ? app.live.jobs.get(currentRun.job_id) : undefined;
    if (job?.status !== "running" || !job.progress.total) return "";
    return `${Math.floor((100 * job.progress.current) / job.progress.total)} % · `;
  }

  /** @param {import("../client/index.js").EvalRun} run */
  function title(run) {
    return run.name || (run.command === ADVERSARIAL ? "Adversarial test" : "Evaluation");
  }

  /** @param {import("../client/index.js").EvalRun} run */
  function description(run) {
    const isSimulated = run.llm_provider === "simulated";
    return html`<div class="row small">
        <span>${badge(run.status)}</span>
        <span class="quiet"
          >${[
            run.app_id,
            run.data_path,
            run.started_at && !run.llm_model
              ? "no LLM asked"
              : [run.llm_provider, run.llm_model].filter(Boolean).join(", "),
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

  /** What does not fit between the app and the data. @param {import("../client/index.js").EvalRun} run */
  function warnings(run) {
    const found = run.config.warnings;
    return Array.isArray(found) && found.length
      ? banner(
          "cancelled",
          "Does the app fit the data?",
          found.map((/** @type {{ message: string }} */ { message }) => message).join("\n"),
        )
      : nothing;
  }

  /**
   * @param {import("../client/index.js").EvalRun} run
   * @param {import("../data/live-jobs.js").JobEvent | undefined} job
   */
  function statusBanner(run, job) {
    const reason = run.error_message ?? job?.error_message ?? "";
    switch (run.status) {
      case "cancelled":
        return banner(
          "cancelled",
          "Cancelled",
          [reason, "The results so far are kept. Retry continues with the rest."]
            .filter(Boolean)
            .join("\n"),
        );
      case "failed":
        return banner("failed", "Failed", reason);
      case "completed_with_errors":
        return banner(
          "completed_with_errors",
          "Completed, partly",
          run.error_message ??
            "Some verdicts are missing, and excluded from every rate. Retry asks for them again.",
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
                name: `Progress of ${jobName(job)}`,
              })}
              <p class="visually-hidden" role="status">${label(job.status)}</p>
              <p class="small quiet">
                ${job.status === "queued" ? waitingText(app, job) : job.progress.message}
              </p>
            </div>`
          : nothing;
    }
  }
}
