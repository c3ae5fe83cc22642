// All runs, newest first, with the main results of each.

import { age, badge, banner, empty, loading } from "../components/basics.js";
import { newEvaluationLink } from "../components/job-controls.js";
import { errorText } from "../data/errors.js";
import { refresher } from "../data/refresher.js";
import { evaluatorsOf } from "../evaluators/registry.js";
import * as format from "../format/values.js";
import { runTrends } from "../panels/run-trends.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const PAGE_SIZE = 50;
const MAX_ROWS = 200;
const MIN_INTERVAL_MS = 500;

/**
 * @param {import("../app.js").App} app @param {{ query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function runs(app, { query, signal }) {
  /** @type {import("../client/index.js").EvalRun[]} */
  let list = [];
  let hasMore = false;
  let limit = PAGE_SIZE;
  let isLoaded = false;
  let appId = query.get("app") ?? ""; // "": all apps
  /** @type {Set<string>} apps of the runs that were read */
  const knownApps = new Set(appId ? [appId] : []);
  /** @type {unknown} */
  let loadError = null;

  const load = refresher(
    async () => {
      const count = limit;
      const chosen = appId;
      const found = await app.api.runs.list({ limit: count, app_id: chosen || undefined });
      if (chosen !== appId) return load(); // another app was chosen meanwhile
      const all = chosen && !isLoaded ? await app.api.runs.list({ limit: count }) : found;
      list = found;
      for (const { app_id: each } of [...found, ...all]) if (each) knownApps.add(each);
      hasMore = list.length === count && count < MAX_ROWS;
      loadError = null;
      isLoaded = true;
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

  function showMore() {
    limit = Math.min(MAX_ROWS, limit + PAGE_SIZE);
    load();
  }

  /** @param {Event} event */
  function choose(event) {
    appId = /** @type {HTMLSelectElement} */ (event.target).value;
    limit = PAGE_SIZE;
    history.replaceState(
      null,
      "",
      appId ? `?${new URLSearchParams({ app: appId })}` : address("/runs"),
    );
    load();
    app.refresh();
  }

  /** @type {Map<string, string>} */
  const statuses = new Map(); // by job id
  app.live.listen(signal, {
    job: ({ id, run_id, status }) => {
      if (run_id && statuses.get(id) !== status) {
        statuses.set(id, status);
        load();
      }
    },
    resync: load,
  });
  load();

  return {
    title: "Runs",
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>Runs</h1>
            <p class="quiet small">The results of evaluations.</p>
          </div>
          <div class="row">${appChoice()}${newEvaluationLink(app)}</div>
        </div>
        ${loadError ? banner("failed", "The runs can't be read", errorText(loadError)) : nothing}
        <div class="stack">
          ${appId || knownApps.size === 1 ? runTrends(list.filter(hasApp)) : nothing}
          ${
            list.length
              ? table()
              : loadError
                ? nothing
                : isLoaded
                  ? empty(
                      appId ? `No runs of ${appId}` : "No runs yet",
                      "Each evaluation is a run, which is listed from its submission on.",
                      newEvaluationLink(app),
                    )
                  : loading()
          }
          ${
            hasMore
              ? html`<p><button type="button" @click=${showMore}>Show more</button></p>`
              : nothing
          }
        </div>`,
  };

  /** @param {import("../client/index.js").EvalRun} run */
  function hasApp(run) {
    return !appId || run.app_id === appId;
  }

  function appChoice() {
    if (knownApps.size < 2 && !appId) return nothing;
    return html`<label class="row small"
      >App
      <select @change=${choose}>
        <option value="" ?selected=${!appId}>all</option>
        ${[...knownApps]
          .sort()
          .map((each) => html`<option value=${each} ?selected=${each === appId}>${each}</option>`)}
      </select></label
    >`;
  }

  function table() {
    return html`<div class="card flush">
      <div class="scroll" tabindex="0" role="region" aria-label="Runs">
        <table class="table cards">
          <caption class="visually-hidden">
            Runs
          </caption>
          <thead>
            <tr>
              <th scope="col">Status</th>
              <th scope="col">Run</th>
              <th scope="col" class="num">Items</th>
              <th scope="col">Found</th>
              <th scope="col">Judge</th>
              <th scope="col">Took</th>
              <th scope="col">Age</th>
            </tr>
          </thead>
          <tbody>
            ${repeat(
              list,
              ({ id }) => id,
              (run) =>
                html`<tr>
                  <td>${badge(run.status)}</td>
                  <td>
                    <a class="cover" href=${address(`/runs/${run.id}`)}
                      >${run.name || run.command}</a
                    >
                    <div class="small quiet">
                      ${[run.app_id, run.data_path].filter(Boolean).join(" · ")}
                    </div>
                  </td>
                  <td data-label="Items" class="num">${format.count(run.total_items)}</td>
                  <td data-label="Found" class="small">${headline(run)}</td>
                  <td data-label="Judge" class="small">
                    ${
                      [run.llm_provider, run.llm_model].filter(Boolean).join(", ") || format.NOTHING
                    }
                  </td>
                  <td data-label="Took" class="nowrap">${format.duration(run.duration_seconds)}</td>
                  <td data-label="Age" class="nowrap">${age(run.created_at, app.now)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </div>`;
  }
}

/** @param {import("../client/index.js").EvalRun} run */
function headline({ summary, config, status, error_message: error }) {
  // What was judged of a partly completed one says more than what was not.
  if (error && status !== "completed_with_errors")
    return html`<span class="wrong">${error.split("\n", 1)[0]}</span>`;
  const figures = /** @type {Record<string, any>} */ (summary ?? {});
  const declarations = /** @type {Record<string, any>} */ (config).evaluators ?? [];
  const parts = [
    ...evaluatorsOf(declarations).map((evaluator) => evaluator.summaryText(figures)),
    figures.pass_rate != null && `${format.percent(figures.pass_rate)} passed`,
    figures.tokens_in != null &&
      `${format.compact(figures.tokens_in + (figures.tokens_out ?? 0))} tokens`,
  ].filter(Boolean);
  return parts.join(" · ") || format.NOTHING;
}
