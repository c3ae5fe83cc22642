// All jobs, live: what waits, what runs, what came of the rest.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import * as format from "../format.js";
import { actions, name, standing, start } from "../jobs.js";
import { age, badge, banner, chip, empty, errorText, progress } from "../parts.js";

const STATUSES = ["queued", "running", "completed", "failed", "cancelled"];
const PAGE = 100;
const AT_MOST = 1_000; // rows: who wants more asks the API

/**
 * @param {import("../app.js").App} app @param {{ query: URLSearchParams, signal: AbortSignal }} place
 * @returns {import("../app.js").View}
 */
export default function jobs(app, { query, signal }) {
  let status = STATUSES.includes(query.get("status") ?? "") ? query.get("status") : null;
  let words = query.get("q") ?? "";
  /** @type {Set<string>} ids of what is listed */
  let listed = new Set();
  /** @type {Set<string> | null} ids of those that were heard of while the list is read: it may be older */
  let heard = null;
  let mayBeMore = false;
  let isRead = false;
  /** @type {unknown} */
  let broken = null;
  let reading = 0;

  /** @param {number} wanted  rows in all */
  async function read(wanted = Math.max(PAGE, listed.size)) {
    const turn = ++reading;
    heard ??= new Set();
    try {
      const found = new Set();
      let offset = 0;
      let page;
      do {
        page = await app.api.jobs.list(status ?? undefined, { limit: PAGE, offset });
        page.forEach((job) => {
          found.add(job.id);
          app.live.take(job);
        });
        offset += page.length;
      } while (page.length === PAGE && offset < Math.min(wanted, AT_MOST));
      if (turn !== reading || signal.aborted) return;
      listed = new Set([...found, ...heard]);
      heard = null;
      mayBeMore = page.length === PAGE && offset < AT_MOST;
      broken = null;
    } catch (error) {
      if (turn !== reading || signal.aborted) return;
      broken = app.noted(error);
    }
    isRead = true;
    app.refresh();
  }

  app.live.listen(signal, {
    job: (job) => {
      if (status && job.status !== status) return;
      listed.add(job.id);
      heard?.add(job.id);
      if (listed.size > 2 * AT_MOST)
        listed = new Set(
          newest()
            .slice(0, AT_MOST)
            .map(({ id }) => id),
        );
    },
    resync: () => void read(),
  });
  void read();

  /** @param {string | null} wanted */
  function filter(wanted) {
    status = wanted;
    listed = new Set();
    isRead = false;
    remember();
    void read(PAGE);
    app.refresh();
  }

  /** @param {Event} event */
  function search(event) {
    words = /** @type {HTMLInputElement} */ (event.target).value;
    remember();
    app.refresh();
  }

  function remember() {
    const kept = new URLSearchParams();
    if (status) kept.set("status", status);
    if (words) kept.set("q", words);
    history.replaceState(null, "", kept.size ? `/?${kept}` : "/");
  }

  function newest() {
    return [...listed]
      .map((id) => app.live.jobs.get(id))
      .filter((job) => job != null)
      .sort((a, b) => order(b.created_at, a.created_at) || order(b.id, a.id));
  }

  function shown() {
    const wanted = words.trim().toLowerCase();
    return newest()
      .filter(
        (job) =>
          (!status || job.status === status) && (!wanted || searchable(job).includes(wanted)),
      )
      .slice(0, AT_MOST);
  }

  return {
    title: "Jobs",
    keys: { "/": () => document.getElementById("search")?.focus() },
    render() {
      const rows = shown();
      return html`<div class="page-head">
          <div>
            <h1>Jobs</h1>
            <p class="quiet small">Newest first. What changes, changes here by itself.</p>
          </div>
          ${start(app)}
        </div>
        <div class="stack">
          <div class="row-wide">
            <div class="chips" role="group" aria-label="Filter by status">
              ${chip({ label: "All", pressed: !status, press: () => filter(null) })}
              ${STATUSES.map((each) =>
                chip({ label: each, pressed: status === each, press: () => filter(each) }),
              )}
            </div>
            <label class="search"
              ><span class="visually-hidden">Search jobs</span>
              <input
                id="search"
                type="search"
                placeholder="Search name, type, owner, worker, id"
                .value=${words}
                @input=${search}
            /></label>
          </div>
          ${
            broken
              ? banner(
                  "failed",
                  "The jobs can't be read",
                  errorText(broken),
                  html`<button type="button" @click=${() => read()}>Try again</button>`,
                )
              : nothing
          }
          ${rows.length ? table(rows) : isRead && !broken ? none() : nothing}
          ${
            mayBeMore
              ? html`<button type="button" @click=${() => read(listed.size + PAGE)}>
                  Show more
                </button>`
              : nothing
          }
        </div>`;
    },
  };

  function none() {
    if (words || status)
      return empty(
        "No such job",
        "No job fits this filter.",
        html`<button
          type="button"
          @click=${() => {
            words = "";
            filter(null);
          }}
        >
          Show all
        </button>`,
      );
    return empty(
      "No jobs yet",
      "Drop a file of conversations, and see what judges make of it.",
      start(app),
    );
  }

  /** @param {import("../live.js").JobEvent[]} rows */
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
            ${repeat(rows, ({ id }) => id, row)}
          </tbody>
        </table>
      </div>
    </div>`;
  }

  /** @param {import("../live.js").JobEvent} job */
  function row(job) {
    return html`<tr data-job=${job.id}>
      <td>${badge(job.status)}</td>
      <td>
        <a class="cover" href="/jobs/${job.id}">${name(job)}</a>
        <div class="small quiet">
          ${job.name ? `${job.job_type} · ` : ""}<span class="mono">${format.shortId(job.id)}</span>
        </div>
      </td>
      <td class="grow">
        ${
          job.status === "running" || job.progress.current
            ? progress({
                ...job.progress,
                status: job.status,
                ...app.live.pace(job),
                label: `Progress of ${name(job)}`,
              })
            : nothing
        }${standing(job)}
      </td>
      <td data-label="Owner">${job.owner}</td>
      <td data-label="Worker" class="small">${job.worker ?? nothing}</td>
      <td data-label="Age" class="nowrap">${age(job.created_at, app.now)}</td>
      <td class="right"><div class="row">${actions(app, job, "tiny")}</div></td>
    </tr>`;
  }
}

/** @param {string} a @param {string} b */
function order(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** @param {import("../live.js").JobEvent} job */
function searchable(job) {
  return [
    name(job),
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
