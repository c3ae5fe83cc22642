// One conversation of a run: its messages, and the result of each evaluator.

import { banner, loading } from "../components/basics.js";
import { quotesOfTurn, scrollToHighlight, scrollToWords } from "../components/transcript.js";
import { turnArticle } from "../components/turn.js";
import { errorText } from "../data/errors.js";
import { refresher } from "../data/refresher.js";
import { evaluatorsOf } from "../evaluators/registry.js";
import * as format from "../format/values.js";
import { LlmCalls } from "../panels/llm-calls.js";
import { Notes } from "../panels/notes.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

/**
 * @typedef {import("../client/index.js").Turn} Turn
 * @typedef {import("../evaluators/parts.js").Json} Json the results of all evaluators
 * @typedef {import("../client/index.js").ThreadDetail} ThreadDetail
 */

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function thread(
  app,
  { params: { id: runId = "", evaluation_id: key = "" }, query, signal },
) {
  const words = (query.get("q") ?? "").trim();
  /** @type {ThreadDetail | null} */
  let detail = null;
  /** @type {import("../evaluators/registry.js").Evaluator[]} of the run */
  let evaluators = [];
  /** @type {unknown} */
  let loadError = null;
  /** @type {string | null} the quote that is highlighted at */
  let highlighted = null;
  const calls = new LlmCalls(app, runId, signal);
  const notes = new Notes(app, runId, signal);
  app.positions.setOpened(runId, key);

  const load = refresher(
    async () => {
      detail = await app.api.runs.thread(runId, Number(key));
      if (signal.aborted) return;
      if (words && !evaluators.length) scrollToWords();
      loadError = null;
      evaluators = evaluatorsOf(detail.evaluators);
      void calls.load(detail.evaluation.thread_id);
      void notes.load(detail.evaluation.thread_id);
      app.refresh();
    },
    {
      signal,
      minIntervalMs: 0,
      onError: (error) => {
        loadError = app.reportError(error);
        app.refresh();
      },
    },
  );
  load();

  /** The neighbours in the list from which it was opened, or else in the run. */
  function neighbours() {
    const list = app.positions.neighbours(runId, key);
    const isUnfiltered = list?.isUnfiltered ?? true; // the run may have more results by now
    return {
      position: list ? ` ${format.count(list.index + 1)} of ${format.count(list.total)}` : "",
      previous: list?.previous ?? (isUnfiltered ? detail?.previous_id : null),
      next: list?.next ?? (isUnfiltered ? detail?.next_id : null),
    };
  }

  /** The address of the list: as it was shown, else with the words that are searched for. */
  function runPath() {
    const path = app.positions.runPath(runId);
    return path.includes("?") ? path : `${path}${location.search}`;
  }

  /** @param {string | number | null | undefined} id */
  function go(id) {
    if (id != null) app.go(`/runs/${runId}/threads/${id}${location.search}`);
  }

  /** @param {string} quote */
  function highlight(quote) {
    highlighted = highlighted === quote ? null : quote;
    app.refresh();
    scrollToHighlight();
  }

  return {
    get title() {
      return detail ? `Conversation ${detail.evaluation.thread_id}` : "Conversation";
    },
    keys: {
      j: () => go(neighbours().next),
      k: () => go(neighbours().previous),
      u: () => app.go(runPath()),
    },
    render() {
      if (loadError) {
        return banner("failed", "This conversation can't be shown", errorText(loadError));
      }
      if (!detail) return loading();
      const { evaluation: row, scores, turns } = detail;
      const result = /** @type {Json} */ (row.result);
      const { position, previous, next } = neighbours();
      return html`<div class="crumbs">
          <a href=${address("/runs")}>Runs</a
          ><a href=${address(runPath())}>${format.shortId(runId)}</a
          ><span>Conversation${position}</span>
        </div>
        <div class="page-head">
          <div>
            <h1>${row.thread_id}</h1>
            ${headline(row, scores)}
          </div>
          <div class="row">
            <button type="button" ?disabled=${previous == null} @click=${() => go(previous)}>
              ← Previous <kbd>k</kbd>
            </button>
            <button type="button" ?disabled=${next == null} @click=${() => go(next)}>
              Next → <kbd>j</kbd>
            </button>
          </div>
        </div>
        <div class="stack">
          ${row.error ? banner("failed", "Nothing could be measured", row.error) : nothing}
          ${failures(result)}
          <div class="split">
            <section class="card" aria-label="Conversation">
              ${turns ? chat(turns, result, scores) : missingText()}
            </section>
            <aside class="stack" aria-label="Verdicts" tabindex="0">
              ${evaluators.map((evaluator) => evaluator.conversationCard(result, scores, highlight))}
              <section class="card stack-tight" aria-label="Notes">
                <h2>Notes</h2>
                ${notes.render()}
              </section>
              <section class="card">
                <h2>LLM calls</h2>
                ${calls.render()}
              </section>
            </aside>
          </div>
        </div>`;
    },
  };

  /** @param {ThreadDetail["evaluation"]} row @param {ThreadDetail["scores"]} scores */
  function headline(row, scores) {
    const { thread } = /** @type {Json} */ (row.result);
    return html`<div class="row">
      ${evaluators.map(
        (evaluator) =>
          html`<span class="quiet small">${evaluator.name.toLowerCase()}</span>${evaluator.headline(
              scores,
            )}`,
      )}
      ${
        thread
          ? html`<span class="quiet small"
              >${format.plural(thread.message_count, "message")}, user ${thread.user_id}</span
            >`
          : nothing
      }
    </div>`;
  }

  /** @param {Json} result */
  function failures(result) {
    const list = /** @type {Json[]} */ (result.failures ?? []);
    if (!list.length) return nothing;
    return banner(
      "completed_with_errors",
      `${format.plural(list.length, "verdict")} could not be obtained`,
      list
        .map(
          (each) =>
            `${each.evaluator}${
              each.turn == null ? "" : `, turn ${each.turn}`
            }: ${each.reason}. ${each.message}`,
        )
        .join("\n"),
    );
  }

  /** @param {Turn[]} turns @param {Json} result @param {ThreadDetail["scores"]} scores */
  function chat(turns, result, scores) {
    return html`<ol role="list" class="chat">
      ${turns.map((turn) => html`<li>${judgedTurn(turn, result, scores)}</li>`)}
    </ol>`;
  }

  /** @param {Turn} turn @param {Json} result @param {ThreadDetail["scores"]} scores */
  function judgedTurn(turn, result, scores) {
    const evidence = /** @type {Json[]} */ (scores.flatMap((score) => score.evidence ?? []));
    return turnArticle(turn, {
      quotes: quotesOfTurn(evidence, turn.number, highlighted),
      words,
      verdicts: evaluators.map((evaluator) =>
        evaluator.turnCard(result, scores, turn.number, highlight),
      ),
    });
  }

  function missingText() {
    return html`<p class="quiet">
      The messages are gone: the dataset was removed. The verdicts are kept.
    </p>`;
  }
}
