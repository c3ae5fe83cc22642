// All jobs, newest first, updated as they change.

import { age, badge, banner, chip, empty, loading, progress } from "../components/basics.js";
import {
  jobActions,
  jobName,
  newEvaluationLink,
  statusDetails,
  waitingText,
} from "../components/job-controls.js";
import { errorText } from "../data/errors.js";
import * as format from "../format/values.js";
import { FiringAlerts } from "../panels/firing-alerts.js";
import { guard } from "../vendor/lit-html/directives/guard.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const STATUSES = ["queued", "running", "completed", "failed", "cancelled"];
const PAGE_SIZE = 100;
const MAX_ROWS = 1_000;

/**
 * @param {import("../app.js").App} app
 * @param {{ query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function jobs(app, { query, signal }) {
  let status = STATUSES.includes(query.get("status") ?? "") ? query.get("status") : null;
  let searchText = query.get("q") ?? "";
  /** @type {Set<string>} ids of the jobs in the list */
  let listedIds = new Set();
  /** @type {Set<string> | null} ids of jobs that changed during a load, which may miss them */
  let changedIds = null;
  let hasMore = false;
  let isLoaded = false;
  /** @type {unknown} */
  let loadError = null;
  let loadNumber = 0;
  const firing = new FiringAlerts(app, signal);

  /** @param {number} [count] of rows, at most */
  async function load(count = Math.max(PAGE_SIZE, listedIds.size)) {
    const number = ++loadNumber;
    changedIds ??= new Set();
    try {
      const ids = new Set();
      let offset = 0;
      let page;
      do {
        page = await app.api.jobs.list(status ?? undefined, { limit: PAGE_SIZE, offset });
        for (const job of page) {
          ids.add(job.id);
          app.live.update(job);
        }
        offset += page.length;
      } while (page.length === PAGE_SIZE && offset < Math.min(count, MAX_ROWS));
      if (number !== loadNumber || signal.aborted) return;
      listedIds = new Set([...ids, ...changedIds]);
      changedIds = null;
      hasMore = page.length === PAGE_SIZE && offset < MAX_ROWS;
      loadError = null;
    } catch (error) {
      if (number !== loadNumber || signal.aborted) return;
      loadError = app.reportError(error);
    }
    isLoaded = true;
    app.refresh();
  }

  app.live.listen(signal, {
    job: (job) => {
      if (job.job_type === "check-alerts" && job.status === "completed") firing.refresh();
      if (status && job.status !== status) return;
      listedIds.add(job.id);
      changedIds?.add(job.id);
      if (listedIds.size > 2 * MAX_ROWS) {
        listedIds = new Set(
          newest()
            .slice(0, MAX_ROWS)
            .map(({ id }) => id),
        );
      }
    },
    resync: () => {
      firing.refresh();
      void load();
    },
  });
  firing.refresh();
  void load();

  /** @param {string | null} newStatus */
  function filter(newStatus) {
    status = newStatus;
    listedIds = new Set();
    isLoaded = false;
    updateAddress();
    void load(PAGE_SIZE);
    app.refresh();
  }

  /** @param {Event} event */
  function search(event) {
    searchText = /** @type {HTMLInputElement} */ (event.target).value;
    updateAddress();
    app.refresh();
  }

  function updateAddress() {
    const parameters = new URLSearchParams();
    if (status) parameters.set("status", status);
    if (searchText) parameters.set("q", searchText);
    history.replaceState(null, "", address(parameters.size ? `/?${parameters}` : "/"));
  }

  function newest() {
    return [...listedIds]
      .map((id) => app.live.jobs.get(id))
      .filter((job) => job != null)
      .sort((a, b) => order(b.created_at, a.created_at) || order(b.id, a.id));
  }

  function visibleJobs() {
    const text = searchText.trim().toLowerCase();
    return newest()
      .filter(
        (job) => (!status || job.status === status) && (!text || searchable(job).includes(text)),
      )
      .slice(0, MAX_ROWS);
  }

  return {
    title: "Jobs",
    keys: { "/": () => document.getElementById("search")?.focus() },
    render() {
      const rows = visibleJobs();
      return html`<div class="page-head">
          <div>
            <h1>Jobs</h1>
            <p class="quiet small">Newest first. Changes appear as they happen.</p>
          </div>
          ${newEvaluationLink(app)}
        </div>
        <div class="stack">
          ${firing.render()}
          <div class="row-wide">
            <div class="chips" role="group" aria-label="Filter by status">
              ${chip({ text: "All", isPressed: !status, onPress: () => filter(null) })}
              ${STATUSES.map((each) =>
                chip({ text: each, isPressed: status === each, onPress: () => filter(each) }),
              )}
            </div>
            <label class="search"
              ><span class="visually-hidden">Search jobs</span>
              <input
                id="search"
                type="search"
                placeholder="Search name, type, owner, worker, id"
                .value=${searchText}
                @input=${search}
            /></label>
          </div>
          ${
            loadError
              ? banner(
                  "failed",
                  "The jobs can't be read",
                  errorText(loadError),
                  html`<button type="button" @click=${() => load()}>Try again</button>`,
                )
              : nothing
          }
          ${rows.length ? table(rows) : loadError ? nothing : isLoaded ? emptyList() : loading()}
          ${
            hasMore
              ? html`<button type="button" @click=${() => load(listedIds.size + PAGE_SIZE)}>
                  Show more
                </button>`
              : nothing
          }
        </div>`;
    },
  };

  function emptyList() {
    if (searchText || status) {
      return empty(
        "No jobs found",
        "No job matches this filter.",
        html`<button
          type="button"
          @click=${() => {
            searchText = "";
            filter(null);
          }}
        >
          Show all
        </button>`,
      );
    }
    return empty(
      "No jobs yet",
      "Upload a file of conversations to evaluate it.",
      newEvaluationLink(app),
    );
  }

  /** @param {import("../data/live-jobs.js").JobEvent[]} rows */
  function table(rows) {
    return html`<div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Jobs">
        <table class="table cards jobs">
          <caption class="visually-hidden">
            Jobs
          </caption>
          <thead>
            <tr>
              <th scope="col">Status</th>
              <th scope="col">Job</th>
              <th scope="col">Progress</th>
              <th scope="col">Owner</th>
              <th scope="col">Worker</th>
              <th scope="col">Age</th>
              <th scope="col"><span class="visually-hidden">Actions</span></th>
            </tr>
          </thead>
          <tbody>
            ${repeat(rows, ({ id }) => id, rowIfChanged)}
          </tbody>
        </table>
      </div>
    </div>`;
  }

  /**
   * A row, drawn again only if something that it shows has changed: the list is drawn each second.
   * @param {import("../data/live-jobs.js").JobEvent} job
   */
  function rowIfChanged(job) {
    const pace = app.live.pace(job);
    const shown = [
      job,
      app.session,
      format.ago(job.created_at, app.now),
      job.status === "queued" ? waitingText(app, job) : "",
      pace.ratePerSecond,
      pace.secondsLeft,
    ];
    return guard(shown, () => row(job, pace));
  }

  /**
   * @param {import("../data/live-jobs.js").JobEvent} job
   * @param {ReturnType<typeof app.live.pace>} pace
   */
  function row(job, pace) {
    const type = job.name ? `${job.job_type} · ` : "";
    return html`<tr data-job=${job.id}>
      <td>${badge(job.status)}</td>
      <td>
        <a class="cover" href=${address(`/jobs/${job.id}`)}>${jobName(job)}</a>
        <div class="small quiet">${type}<span class="mono">${format.shortId(job.id)}</span></div>
      </td>
      <td class="grow">
        ${
          job.status === "running" || job.progress.current
            ? progress({
                ...job.progress,
                status: job.status,
                ...pace,
                name: `Progress of ${jobName(job)}`,
              })
            : nothing
        }${statusDetails(app, job)}
      </td>
      <td data-label="Owner">${job.owner}</td>
      <td data-label="Worker" class="small">${job.worker ?? nothing}</td>
      <td data-label="Age" class="nowrap">${age(job.created_at, app.now)}</td>
      <td class="right"><div class="row">${jobActions(app, job, "tiny")}</div></td>
    </tr>`;
  }
}

/** @param {string} a @param {string} b */
function order(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @param {import("../data/live-jobs.js").JobEvent} job */
function searchable(job) {
  return [
    jobName(job),
    job.job_type,
    job.owner,
    job.worker,
    job.id,
    job.progress.message,
    job.error_message,
  ]
    .join("\n")
    .toLowerCase();
}
