// What the evaluators found in a batch of conversations: distributions above, conversations below.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import * as charts from "./charts.js";
import * as format from "./format.js";
import { Outcomes } from "./outcomes.js";
import { badge, banner, chip, errorText, figure } from "./parts.js";
import { Statistics } from "./statistics.js";
import { said, severity } from "./verdicts.js";
import { Rows } from "./virtual.js";

/** @typedef {import("./client/index.js").Outcome} Row */

const COLUMNS = /** @type {const} */ ([
  ["thread_id", "Conversation"],
  ["intent_accuracy", "Intent"],
  ["worst_correctness", "Correctness"],
  ["efficiency_verdict", "Efficiency"],
  ["success_status", "Task"],
  ["messages", "Messages"],
  ["duration_ms", "Took"],
]);

/** @type {Record<string, (row: Row) => string | number>} */
const ORDER = {
  thread_id: (row) => row.thread_id,
  intent_accuracy: (row) => row.intent_accuracy ?? 2,
  worst_correctness: (row) => severity(row.worst_correctness),
  efficiency_verdict: (row) => severity(row.efficiency_verdict),
  success_status: (row) => (row.success_status == null ? 2 : Number(row.success_status)),
  messages: (row) => row.messages ?? 0,
  duration_ms: (row) => row.duration_ms,
};

export class BatchRun {
  /** @param {import("./app.js").App} app @param {string} id @param {URLSearchParams} query @param {AbortSignal} signal */
  constructor(app, id, query, signal) {
    this.app = app;
    this.id = id;
    /** @type {unknown} */
    this.broken = null;
    this.filters = new Set(query.getAll("only"));
    this.words = query.get("q") ?? "";
    this.sort = { by: query.get("sort") ?? "", down: query.get("down") === "1" };
    const changed = () => {
      this.broken = null;
      app.refresh();
    };
    /** @param {unknown} error */
    const failed = (error) => {
      this.broken = app.noted(error);
      app.refresh();
    };
    /** @type {Outcomes<Row>} */
    this.outcomes = new Outcomes(
      async (after, limit) => {
        const { outcomes: rows, total } = await app.api.runs.outcomes(id, { after, limit });
        return { rows, total };
      },
      changed,
      failed,
      signal,
    );
    this.statistics = new Statistics(app, id, signal, failed);
    this.rows = new Rows(() => app.refresh(), signal);
    /** @type {Row[]} what the table shows, made anew when what it is made of changed */
    this.shown = [];
    this.madeOf = /** @type {unknown[]} */ ([]);
  }

  /** @returns {Record<string, () => void>} */
  get keys() {
    return { "/": () => document.getElementById("find")?.focus() };
  }

  /** @param {{ anew?: boolean }} how */
  look(how) {
    this.outcomes.look(how);
    this.statistics.look();
  }

  render() {
    const figures = this.statistics.found;
    return html` ${
      this.broken ? banner("failed", "Something can't be read", errorText(this.broken)) : nothing
    }
    ${figures?.batch ? this.figures(figures.batch, figures.llm) : nothing}
    ${figures ? this.statistics.callCharts() : nothing}
    ${this.outcomes.isRead ? this.conversations() : nothing}`;
  }

  /** @param {import("./client/index.js").BatchStatistics} batch @param {import("./client/index.js").LlmStatistics} llm */
  figures(batch, llm) {
    const measured = (/** @type {{ count: number }[]} */ shares) =>
      shares.reduce((sum, each) => sum + each.count, 0);
    const intent = batch.intent;
    return html`<section class="card grid narrow">
        ${figure(
          "Conversations",
          format.count(batch.threads),
          batch.failed ? `${format.count(batch.failed)} with nothing measured` : "evaluated",
        )}
        ${figure(
          "Intent accuracy",
          format.percent(intent?.accuracy),
          intent?.low == null
            ? ""
            : `${format.percent(intent.low)} to ${format.percent(intent.high)}`,
        )}
        ${figure(
          "LLM calls",
          format.count(llm.calls),
          llm.failed_calls ? `${format.count(llm.failed_calls)} failed` : "none failed",
        )}
        ${figure(
          "Tokens",
          format.compact(llm.tokens_in),
          `in, ${format.compact(llm.tokens_out)} out`,
        )}
      </section>
      <div class="grid wide">
        <section class="card">
          <h2>
            Correctness <span class="quiet small">the worst answer of each conversation</span>
          </h2>
          ${charts.distribution(batch.correctness, batch.threads - measured(batch.correctness))}
        </section>
        <section class="card">
          <h2>Efficiency</h2>
          ${charts.distribution(batch.efficiency, batch.threads - measured(batch.efficiency))}
        </section>
        ${
          intent && intent.labels.length
            ? html`<section class="card">
                <h2>
                  Intent
                  <span class="quiet small"
                    >${format.count(intent.correct)} of ${format.count(intent.compared)} messages
                    routed right</span
                  >
                </h2>
                ${charts.confusion(intent)}
              </section>`
            : nothing
        }
        ${this.missing(batch)}
      </div>`;
  }

  /** @param {import("./client/index.js").BatchStatistics} batch */
  missing({ coverage, failures }) {
    const covered = Object.entries(coverage);
    if (!covered.length && !failures.length) return nothing;
    return html`<section class="card stack-tight">
      <h2>Coverage <span class="quiet small">judged of what was asked</span></h2>
      <dl class="facts">
        ${covered.map(
          ([evaluator, { judged, attempted, rate }]) =>
            html`<dt>${evaluator}</dt>
              <dd>
                ${format.count(judged)} of ${format.count(attempted)}
                <span class="quiet">${format.percent(rate)}</span>
              </dd>`,
        )}
      </dl>
      ${
        failures.length
          ? html`<h3>Failures, in no rate</h3>
              <ul role="list" class="stack-tight small">
                ${failures.map(
                  (each) =>
                    html`<li>
                      <span class="badge tone-bad"
                        >${format.count(each.count)} × ${said(each.reason)}</span
                      >
                      ${each.evaluator}
                      <div class="quiet">${each.example}</div>
                    </li>`,
                )}
              </ul>`
          : html`<p class="hint">Nothing failed.</p>`
      }
    </section>`;
  }

  /** @param {Row[]} all */
  chips(all) {
    /** @type {[string, string, (row: Row) => boolean][]} */
    const kinds = [
      ...["CRITICAL", "HARD FAIL", "SOFT FAIL", "PASS"].map(
        (word) =>
          /** @type {[string, string, (row: Row) => boolean]} */ ([
            word,
            said(word),
            (row) => row.worst_correctness === word,
          ]),
      ),
      ...["BROKEN", "FRICTION", "INCOMPLETE", "ACCEPTABLE", "EFFICIENT"].map(
        (word) =>
          /** @type {[string, string, (row: Row) => boolean]} */ ([
            word,
            said(word),
            (row) => row.efficiency_verdict === word,
          ]),
      ),
      ["intent", "wrong intent", (row) => row.intent_accuracy != null && row.intent_accuracy < 1],
      ["missing", "verdicts missing", (row) => row.missing_verdicts > 0],
    ];
    return kinds.map(([key, label, fits]) => ({
      key,
      label,
      fits,
      count: all.filter(fits).length,
    }));
  }

  conversations() {
    const all = this.outcomes.all;
    const madeOf = [
      this.outcomes.rows,
      [...this.filters].join(),
      this.words,
      this.sort.by,
      this.sort.down,
    ];
    if (madeOf.some((each, i) => each !== this.madeOf[i])) {
      this.madeOf = madeOf;
      this.kinds = this.chips(all);
      this.shown = this.sorted(all.filter((row) => this.fits(row)));
    }
    return html`<section class="card flush">
      <div class="row-wide">
        <h2>
          Conversations
          <span class="quiet small"
            >${
              this.shown.length === all.length
                ? format.count(all.length)
                : `${format.count(this.shown.length)} of ${format.count(all.length)}`
            }</span
          >
        </h2>
        <label
          ><span class="visually-hidden">Find a conversation</span
          ><input
            id="find"
            type="search"
            placeholder="Find by id"
            .value=${this.words}
            @input=${(/** @type {Event} */ event) => this.search(event)}
        /></label>
      </div>
      <div class="row-wide">
        <div class="chips" role="group" aria-label="Filter conversations">
          ${(this.kinds ?? []).map(({ key, label, count }) =>
            count || this.filters.has(key)
              ? chip({
                  label,
                  count,
                  pressed: this.filters.has(key),
                  press: () => this.toggle(key),
                })
              : nothing,
          )}
        </div>
      </div>
      ${
        this.shown.length
          ? this.table()
          : html`<p class="empty">
              ${all.length ? "None fits this filter." : "The first one will stand here."}
            </p>`
      }
    </section>`;
  }

  /** @param {Row} row */
  fits(row) {
    const wanted = this.words.trim().toLowerCase();
    if (wanted && !row.thread_id.toLowerCase().includes(wanted)) return false;
    return (
      !this.filters.size ||
      (this.kinds ?? []).some(({ key, fits }) => this.filters.has(key) && fits(row))
    );
  }

  /** @param {Row[]} rows */
  sorted(rows) {
    const value = ORDER[this.sort.by];
    if (!value) return rows;
    const sign = this.sort.down ? -1 : 1;
    return rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return sign * (x < y ? -1 : x > y ? 1 : a.id - b.id);
    });
  }

  /** @param {string} key */
  toggle(key) {
    if (!this.filters.delete(key)) this.filters.add(key);
    this.remember();
  }

  /** @param {Event} event */
  search(event) {
    this.words = /** @type {HTMLInputElement} */ (event.target).value;
    this.remember();
  }

  /** @param {string} by */
  order(by) {
    this.sort = { by, down: this.sort.by === by && !this.sort.down };
    this.remember();
  }

  /** What is chosen, as the address says it. */
  get query() {
    const kept = new URLSearchParams([...this.filters].map((each) => ["only", each]));
    if (this.words) kept.set("q", this.words);
    if (this.sort.by) kept.set("sort", this.sort.by);
    if (this.sort.down) kept.set("down", "1");
    return kept.size ? `?${kept}` : "";
  }

  /** In the address, so that it is there again on the way back. */
  remember() {
    history.replaceState(null, "", this.query || location.pathname);
    this.app.refresh();
  }

  table() {
    const shown = this.shown;
    this.app.trail.shows(this.id, {
      query: this.query,
      keys: () => shown.map(({ id }) => String(id)),
    });
    if (this.statistics.found) this.rows.bring(this.app.trail.returned(this.id)); // they stand above, and push it down
    const aria = (/** @type {string} */ by) =>
      this.sort.by === by ? (this.sort.down ? "descending" : "ascending") : nothing;
    return this.rows.render({
      label: "Conversations",
      items: shown,
      key: ({ id }) => id,
      columns: COLUMNS.length,
      head: html`<tr aria-rowindex="1">
        ${COLUMNS.map(
          ([by, label]) =>
            html`<th scope="col" aria-sort=${aria(by)}>
              <button type="button" class="sort" @click=${() => this.order(by)}>${label}</button>
            </th>`,
        )}
      </tr>`,
      row: (row, index) =>
        html`<tr aria-rowindex=${index + 2}>
          <td title=${row.thread_id}>
            <a class="cover" href="/runs/${this.id}/threads/${row.id}">${row.thread_id}</a>
          </td>
          <td>
            ${row.intent_accuracy == null ? badge(null) : format.percent(row.intent_accuracy)}
          </td>
          <td>${badge(row.worst_correctness)}</td>
          <td>${badge(row.efficiency_verdict)}</td>
          <td>
            ${
              row.failed
                ? html`<span class="badge tone-bad" title=${row.error ?? nothing}>failed</span>`
                : row.success_status == null
                  ? format.NOTHING
                  : row.success_status
                    ? "done"
                    : "not done"
            }
          </td>
          <td>
            ${format.count(row.messages)}${
              row.missing_verdicts
                ? html` <span class="badge tone-warn" title="Verdicts that could not be had"
                    >${row.missing_verdicts} missing</span
                  >`
                : nothing
            }
          </td>
          <td>${format.milliseconds(row.duration_ms)}</td>
        </tr>`,
    });
  }
}
