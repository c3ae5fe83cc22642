// The workers and the queues.

import { age, banner, empty } from "../components/basics.js";
import { errorText } from "../data/errors.js";
import * as format from "../format/values.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const POLL_INTERVAL_MS = 2_000; // workers report every few seconds
const SILENT_SECONDS = 30;

/**
 * @param {import("../app.js").App} app @param {{ signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function workers(app, { signal }) {
  /** @type {import("../client/index.js").Worker[] | null} */
  let fleet = null;
  /** @type {import("../client/index.js").Queue[]} */
  let queues = [];
  /** @type {unknown} */
  let loadError = null;

  async function load() {
    if (!document.hidden) {
      try {
        [fleet, queues] = await Promise.all([app.api.workers.list(), app.api.queues.list()]);
        loadError = null;
      } catch (error) {
        loadError = app.reportError(error);
      }
      app.refresh();
    }
    if (!signal.aborted) timer = setTimeout(load, POLL_INTERVAL_MS);
  }
  let timer = setTimeout(load, 0);
  signal.addEventListener("abort", () => clearTimeout(timer));

  /** @param {import("../client/index.js").Queue} queue */
  async function toggle(queue) {
    await app.attempt(async () => {
      await (queue.paused_at
        ? app.api.queues.resume(queue.name)
        : app.api.queues.pause(queue.name));
      queues = await app.api.queues.list();
      app.refresh();
    });
  }

  return {
    title: "Workers",
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>Workers and queues</h1>
            <p class="quiet small">As last reported by each worker.</p>
          </div>
        </div>
        <div class="stack">
          ${
            loadError
              ? banner("failed", "The workers can't be read", errorText(loadError))
              : nothing
          }
          ${
            fleet === null
              ? nothing
              : fleet.length
                ? workerTable(fleet)
                : empty(
                    "No worker is running",
                    html`Jobs wait until one does: <code>evalqueue worker</code>`,
                  )
          }
          ${queues.length ? queueTable() : nothing}
        </div>`,
  };

  /** @param {import("../client/index.js").Worker[]} fleet */
  function workerTable(fleet) {
    return html`<section class="card flush">
      <div class="row-wide"><h2>${format.plural(fleet.length, "worker")}</h2></div>
      <div class="scroll" tabindex="0" role="region" aria-label="Workers">
        <table class="table cards">
          <caption class="visually-hidden">
            Workers
          </caption>
          <thead>
            <tr>
              <th scope="col">Worker</th>
              <th scope="col">State</th>
              <th scope="col">Jobs</th>
              <th scope="col">Queues</th>
              <th scope="col">Up for</th>
              <th scope="col">Last report</th>
              <th scope="col">Version</th>
            </tr>
          </thead>
          <tbody>
            ${repeat(
              fleet,
              ({ name }) => name,
              (worker) =>
                html`<tr>
                  <td>
                    <strong>${worker.name}</strong>${
                      worker.is_leader ? html`<div class="small quiet">leader</div>` : nothing
                    }
                  </td>
                  <td data-label="State">${state(worker)}</td>
                  <td data-label="Jobs" class="nowrap">
                    ${worker.running} of
                    ${worker.slots}${
                      worker.stuck
                        ? html` <span class="wrong">${worker.stuck} stuck</span>`
                        : nothing
                    }
                  </td>
                  <td data-label="Queues" class="small">${worker.queues?.join(", ") ?? "all"}</td>
                  <td data-label="Up for" class="nowrap">${age(worker.started_at, app.now)}</td>
                  <td data-label="Last report" class="nowrap">
                    ${format.duration(worker.silent_for_seconds)} ago
                  </td>
                  <td data-label="Version" class="small">${worker.version}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </section>`;
  }

  function queueTable() {
    const mayPause = app.session?.right === "admin";
    return html`<section class="card flush">
      <div class="row-wide"><h2>Queues</h2></div>
      <div class="scroll" tabindex="0" role="region" aria-label="Queues">
        <table class="table cards">
          <caption class="visually-hidden">
            Queues
          </caption>
          <thead>
            <tr>
              <th scope="col">Queue</th>
              <th scope="col">State</th>
              <th scope="col" class="num">Running</th>
              <th scope="col" class="num">Waiting</th>
              <th scope="col" class="num">Later</th>
              <th scope="col">Oldest waits</th>
              <th scope="col">Limits</th>
              <th scope="col"><span class="visually-hidden">Actions</span></th>
            </tr>
          </thead>
          <tbody>
            ${repeat(
              queues,
              ({ name }) => name,
              (queue) =>
                html`<tr>
                  <td><strong>${queue.name}</strong></td>
                  <td data-label="State">
                    ${
                      queue.paused_at
                        ? html`<span class="badge tone-warn">paused</span>`
                        : html`<span class="badge tone-good">open</span>`
                    }
                  </td>
                  <td data-label="Running" class="num">${format.count(queue.running)}</td>
                  <td data-label="Waiting" class="num">${waiting(queue, queue.due)}</td>
                  <td data-label="Later" class="num">${waiting(queue, queue.later)}</td>
                  <td data-label="Oldest waits">${format.duration(queue.oldest_waits_seconds)}</td>
                  <td data-label="Limits" class="small">${limits(queue)}</td>
                  <td class="right">
                    ${
                      mayPause
                        ? html`<button type="button" class="tiny" @click=${() => toggle(queue)}>
                            ${queue.paused_at ? "Resume" : "Pause"}<span class="visually-hidden">
                              ${queue.name}</span
                            >
                          </button>`
                        : nothing
                    }
                  </td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </section>`;
  }
}

/** @param {import("../client/index.js").Worker} worker */
function state(worker) {
  if (worker.silent_for_seconds > SILENT_SECONDS) {
    return html`<span class="badge tone-bad">silent</span>`;
  }
  if (worker.draining) return html`<span class="badge tone-warn">draining</span>`;
  if (!worker.listening) return html`<span class="badge tone-warn">not listening</span>`;
  return worker.running
    ? html`<span class="badge tone-busy">running</span>`
    : html`<span class="badge tone-good">ready</span>`;
}

/** @param {import("../client/index.js").Queue} queue @param {number} jobs */
function waiting(queue, jobs) {
  return queue.counts_complete ? format.count(jobs) : `${format.count(jobs)}+`;
}

/** @param {import("../client/index.js").Queue} queue */
function limits({ max_running: all, max_running_per_owner: each }) {
  return (
    [all && `${all} at once`, each && `${each} for each owner`].filter(Boolean).join(", ") || "none"
  );
}
