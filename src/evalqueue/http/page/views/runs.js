// What evaluations have found, newest first.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import * as format from "../format.js";
import { start } from "../jobs.js";
import { age, badge, banner, empty, errorText } from "../parts.js";
import { steady } from "../steady.js";

const PAGE = 50;
const AT_MOST = 200;
const LEAST_MS = 500; // between two looks: hundreds of jobs may change at once

/**
 * @param {import("../app.js").App} app @param {{ signal: AbortSignal }} place
 * @returns {import("../app.js").View}
 */
export default function runs(app, { signal }) {
  /** @type {import("../client/index.js").EvalRun[]} */
  let found = [];
  let mayBeMore = false;
  let wanted = PAGE;
  let isRead = false;
  /** @type {unknown} */
  let broken = null;

  const read = steady(
    async () => {
      const limit = wanted;
      found = await app.api.runs.list({ limit });
      mayBeMore = found.length === limit && limit < AT_MOST;
      broken = null;
      isRead = true;
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

  function more() {
    wanted = Math.min(AT_MOST, wanted + PAGE);
    read();
  }

  /** @type {Map<string, string>} */
  const known = new Map();
  app.live.listen(signal, {
    job: ({ id, run_id, status }) => {
      if (run_id && known.get(id) !== status) {
        known.set(id, status);
        read();
      }
    },
    resync: read,
  });
  read();

  return {
    title: "Runs",
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>Runs</h1>
            <p class="quiet small">What evaluations have found.</p>
          </div>
          ${start(app)}
        </div>
        ${broken ? banner("failed", "The runs can't be read", errorText(broken)) : nothing}
        ${
          found.length
            ? table()
            : isRead && !broken
              ? empty(
                  "No runs yet",
                  "Each evaluation is a run: it is there from the moment it is submitted.",
                  start(app),
                )
              : nothing
        }
        ${
          mayBeMore ? html`<p><button type="button" @click=${more}>Show more</button></p>` : nothing
        }`,
  };

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
              found,
              ({ id }) => id,
              (run) =>
                html`<tr>
                  <td>${badge(run.status)}</td>
                  <td>
                    <a class="cover" href="/runs/${run.id}">${run.name || run.command}</a>
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
function headline({ summary, error_message: error }) {
  if (error) return html`<span class="wrong">${error.split("\n", 1)[0]}</span>`;
  const said = /** @type {Record<string, any>} */ (summary ?? {});
  const parts = [
    said.avg_intent_accuracy != null && `intent ${format.percent(said.avg_intent_accuracy)}`,
    said.correctness_verdicts &&
      `${
        (said.correctness_verdicts["HARD FAIL"] ?? 0) + (said.correctness_verdicts.CRITICAL ?? 0)
      } wrong`,
    said.pass_rate != null && `${format.percent(said.pass_rate)} passed`,
    said.tokens_in != null && `${format.compact(said.tokens_in + (said.tokens_out ?? 0))} tokens`,
  ].filter(Boolean);
  return parts.join(" · ") || format.NOTHING;
}
