// The results of a batch run: figures, the table of conversations, the worst first, then distributions.

import { banner, chip, figure } from "../components/basics.js";
import { withWords } from "../components/marked.js";
import { VirtualTable } from "../components/virtual-table.js";
import { errorText } from "../data/errors.js";
import { MatchingRows } from "../data/matching-rows.js";
import { PagedResults } from "../data/paged-results.js";
import { evaluatorsOf } from "../evaluators/registry.js";
import { failureTone, label } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { Calibration } from "./calibration.js";
import { RunStatistics } from "./run-statistics.js";
import { address } from "../shell/root.js";

/**
 * @typedef {import("../client/index.js").Outcome} Row
 *
 * @typedef {object} Column
 * @property {string} key its `sort` in the address
 * @property {string} name
 * @property {(row: Row) => string | number} sortValue
 * @property {(row: Row) => unknown} cell
 *
 * @typedef {object} Filter
 * @property {string} key its `only` in the address
 * @property {string} text
 * @property {string} group filters of one group are alternatives; every group must match
 * @property {(row: Row) => boolean} matches
 */

/** @type {Column[]} */
const COMMON_COLUMNS = [
  {
    key: "success_status",
    name: "Task",
    sortValue: (row) => (row.success_status == null ? 2 : Number(row.success_status)),
    cell: taskCell,
  },
  {
    key: "messages",
    name: "Messages",
    sortValue: (row) => row.messages ?? 0,
    cell: messagesCell,
  },
  {
    key: "duration_ms",
    name: "Took",
    sortValue: (row) => row.duration_ms,
    cell: (row) => format.milliseconds(row.duration_ms),
  },
];

/** @type {Column} the first column, whose cells are links */
const CONVERSATION = {
  key: "thread_id",
  name: "Conversation",
  sortValue: (row) => row.thread_id,
  cell: (row) => row.thread_id,
};

/** What a score filter of the address may name. */
const SCORE_CRITERIA = ["evaluator", "name", "value", "expected"];

/** @type {Filter} */
const MISSING = {
  key: "missing",
  group: "missing",
  text: "verdicts missing",
  matches: (row) => row.missing_verdicts > 0,
};

export class BatchResults {
  /**
   * @param {import("../app.js").App} app
   * @param {string} runId
   * @param {URLSearchParams} query of the address: filters and order
   * @param {AbortSignal} signal
   */
  constructor(app, runId, query, signal) {
    this.app = app;
    this.runId = runId;
    /** @type {unknown} */
    this.error = null;
    this.filters = new Set(query.getAll("only"));
    this.searchText = query.get("q") ?? "";
    this.sort = { key: query.get("sort") ?? "", isDescending: query.get("down") === "1" };
    const onChange = () => {
      this.error = null;
      app.refresh();
    };
    /** @param {unknown} error */
    const onError = (error) => {
      this.error = app.reportError(error);
      app.refresh();
    };
    /** @type {PagedResults<Row>} */
    this.results = new PagedResults(
      async (after, limit) => {
        const { outcomes: rows, total } = await app.api.runs.outcomes(runId, { after, limit });
        return { rows, total };
      },
      onChange,
      onError,
      signal,
    );
    /** @type {import("../data/matching-rows.js").Criteria} */
    const ofScore = Object.fromEntries(SCORE_CRITERIA.map((each) => [each, query.get(each) ?? ""]));
    this.scored = this.matching(onChange, onError, signal);
    this.scored.find(ofScore);
    this.searched = this.matching(onChange, onError, signal);
    this.searched.find({ text: this.searchText.trim() });
    this.statistics = new RunStatistics(app, runId, signal, onError);
    this.calibration = new Calibration(app, runId, signal, onError);
    this.virtualTable = new VirtualTable(() => app.refresh(), signal);
    /** @type {import("../evaluators/registry.js").Evaluator[]} of the run, as it declares them */
    this.evaluators = [];
    this.declared = "";
    /** @type {Column[]} */
    this.columns = COMMON_COLUMNS;
    /** @type {Filter[]} */
    this.rowFilters = [MISSING];
    /** @type {Row[]} the rows of the table, filtered and sorted */
    this.visibleRows = [];
    /** @type {Map<string, number>} how many rows each filter matches */
    this.filterCounts = new Map();
    /** @type {unknown[]} the inputs from which the rows of the table were computed */
    this.inputs = [];
  }

  /**
   * @param {() => void} onChange @param {(error: unknown) => void} onError
   * @param {AbortSignal} signal
   */
  matching(onChange, onError, signal) {
    return new MatchingRows(
      async (criteria, after, limit) => {
        const given = Object.fromEntries(Object.entries(criteria).filter(([, value]) => value));
        const page = { after, limit, ...given };
        return (await this.app.api.runs.outcomes(this.runId, page)).outcomes;
      },
      onChange,
      onError,
      signal,
    );
  }

  /** @returns {Record<string, () => void>} */
  get keys() {
    return { "/": () => document.getElementById("find")?.focus() };
  }

  /** @param {{ reload?: boolean }} options */
  refresh(options) {
    this.results.refresh(options);
    this.scored.refresh();
    this.searched.refresh();
    this.statistics.refresh();
    if (options.reload) this.calibration.refresh();
  }

  render() {
    const { figures } = this.statistics;
    if (figures?.batch) this.declare(figures.batch.evaluators.map((each) => each.declaration));
    return html`${
      this.error ? banner("failed", "Something can't be read", errorText(this.error)) : nothing
    }
    ${figures?.batch ? this.figures(figures.batch, figures.llm) : nothing}
    ${this.results.isLoaded && figures?.batch ? this.conversations() : nothing}
    ${this.calibration.render()} ${figures?.batch ? this.distributions(figures.batch) : nothing}
    ${figures ? this.statistics.callCharts() : nothing}`;
  }

  /** @param {import("../evaluators/registry.js").Declaration[]} declarations of the run */
  declare(declarations) {
    const declared = JSON.stringify(declarations);
    if (declared === this.declared) return;
    this.declared = declared;
    this.evaluators = evaluatorsOf(declarations);
    this.columns = [
      ...this.evaluators.map(({ column, name, rank, cell }) => ({
        key: column,
        name,
        sortValue: rank,
        cell,
      })),
      ...COMMON_COLUMNS,
    ];
    this.rowFilters = [...this.evaluators.flatMap(({ filters }) => filters), MISSING];
    this.inputs = [];
  }

  /**
   * @param {import("../client/index.js").BatchStatistics} batch
   * @param {import("../client/index.js").LlmStatistics} llm
   */
  figures(batch, llm) {
    return html`<section class="card grid narrow">
      ${figure(
        "Conversations",
        format.count(batch.threads),
        batch.failed ? `${format.count(batch.failed)} with nothing measured` : "evaluated",
      )}
      ${this.evaluators.map((evaluator, i) => {
        const found = batch.evaluators[i];
        return found ? evaluator.figures(found) : nothing;
      })}
      ${figure(
        "LLM calls",
        format.count(llm.calls),
        [
          llm.failed_calls ? `${format.count(llm.failed_calls)} failed` : "none failed",
          ...(llm.reused_calls ? [`${format.count(llm.reused_calls)} answers reused`] : []),
        ].join(", "),
      )}
      ${figure(
        "Tokens",
        format.compact(llm.tokens_in),
        `in, ${format.compact(llm.tokens_out)} out`,
      )}
      ${figure("Cost", format.dollars(llm.cost_usd), format.unpriced(llm))}
    </section>`;
  }

  /** @param {import("../client/index.js").BatchStatistics} batch */
  distributions(batch) {
    return html`<div class="grid wide">
      ${this.evaluators.map((evaluator, i) => {
        const found = batch.evaluators[i];
        return found ? evaluator.cards(found, batch.threads) : nothing;
      })}
      ${this.coverage(batch)}
    </div>`;
  }

  /** @param {import("../client/index.js").BatchStatistics} batch */
  coverage({ coverage, failures }) {
    const evaluators = Object.entries(coverage);
    if (!evaluators.length && !failures.length) return nothing;
    const missing = evaluators.reduce((n, [, each]) => n + each.attempted - each.judged, 0);
    const unknown = missing - failures.reduce((n, each) => n + each.count, 0);
    return html`<section class="card stack-tight">
      <h2>Coverage <span class="quiet small">judged, of all attempted</span></h2>
      <dl class="facts">
        ${evaluators.map(
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
          ? html`<h3>Failures, excluded from every rate</h3>
              <ul role="list" class="stack-tight small">
                ${failures.map(
                  (each) =>
                    html`<li>
                      <span class="badge tone-${failureTone(each.reason)}"
                        >${format.count(each.count)} × ${label(each.reason)}</span
                      >
                      ${each.evaluator}
                      <div class="quiet">${each.example}</div>
                    </li>`,
                )}
              </ul>`
          : html`<p class="hint">Nothing failed.</p>`
      }
      ${
        unknown > 0
          ? html`<p class="hint">
              Not measured, as the data do not say it: ${format.count(unknown)}.
            </p>`
          : nothing
      }
    </section>`;
  }

  /** Compute the rows of the table again, if anything they depend on has changed. */
  updateRows() {
    const { key, isDescending } = this.sort;
    const inputs = [
      this.results.rows,
      [...this.filters].join(),
      this.searchText,
      this.searched.rows,
      this.scored.rows,
      key,
      isDescending,
    ];
    if (inputs.every((each, i) => each === this.inputs[i])) return;
    this.inputs = inputs;
    const all = this.results.all;
    this.filterCounts = new Map(
      this.rowFilters.map(({ key, matches }) => [key, all.filter(matches).length]),
    );
    this.visibleRows = this.sorted(all.filter((row) => this.isVisible(row)));
  }

  conversations() {
    this.updateRows();
    const [visible, total] = [this.visibleRows.length, this.results.rows.size];
    return html`<section class="card flush">
      <div class="row-wide">
        <h2>
          Conversations
          <span class="quiet small"
            >${
              visible === total
                ? format.count(total)
                : `${format.count(visible)} of ${format.count(total)}`
            }</span
          >
        </h2>
        <label
          ><span class="visually-hidden">Find a conversation</span
          ><input
            id="find"
            type="search"
            placeholder="Find by words or id"
            title="Finds texts of messages, and ids of conversations"
            maxlength="200"
            .value=${this.searchText}
            @input=${(/** @type {Event} */ event) => this.search(event)}
        /></label>
      </div>
      <div class="row-wide">
        <div class="chips" role="group" aria-label="Filter conversations">
          ${this.scoreChip()}${this.rowFilters.map((filter) => this.filterChip(filter))}
        </div>
      </div>
      ${visible ? this.table() : html`<p class="empty" role="status">${this.emptyText(total)}</p>`}
    </section>`;
  }

  /** @param {number} total conversations of the run */
  emptyText(total) {
    if (!total) return "No conversation is evaluated yet.";
    const isSearching = [this.scored, this.searched].some((each) => each.isActive && !each.rows);
    return isSearching ? "Searching…" : "No conversation matches this filter.";
  }

  /** The filter by a score that a link has set: pressing it removes the filter. */
  scoreChip() {
    if (!this.scored.isActive) return nothing;
    const { evaluator, value, expected } = this.scored.criteria;
    const text = [
      this.evaluators.find(({ key }) => key === evaluator)?.name ?? evaluator,
      value ? `judged ${value}` : "",
      expected ? `on record ${expected}` : "",
    ];
    return chip({
      text: text.filter(Boolean).join(", "),
      count: this.scored.rows?.size,
      isPressed: true,
      onPress: () => {
        this.scored.find({});
        this.updateAddress();
      },
    });
  }

  /** @param {Filter} filter */
  filterChip({ key, text }) {
    const count = this.filterCounts.get(key) ?? 0;
    const isPressed = this.filters.has(key);
    if (!count && !isPressed) return nothing;
    return chip({ text, count, isPressed, onPress: () => this.toggle(key) });
  }

  /** @param {Row} row */
  isVisible(row) {
    const text = this.searchText.trim().toLowerCase();
    if (text && !row.thread_id.toLowerCase().includes(text) && !this.searched.has(row))
      return false;
    if (this.scored.isActive && !this.scored.has(row)) return false;
    const pressed = this.rowFilters.filter(({ key }) => this.filters.has(key));
    return pressed.every(({ group }) =>
      pressed.some((each) => each.group === group && each.matches(row)),
    );
  }

  /** @param {Row[]} rows */
  sorted(rows) {
    const column = [CONVERSATION, ...this.columns].find(({ key }) => key === this.sort.key);
    if (!column) return this.worstFirst(rows);
    const { sortValue } = column;
    const sign = this.sort.isDescending ? -1 : 1;
    return rows.sort((a, b) => {
      const [x, y] = [sortValue(a), sortValue(b)];
      return sign * (x < y ? -1 : x > y ? 1 : a.id - b.id);
    });
  }

  /** By the worst verdict, then by all of them. @param {Row[]} rows */
  worstFirst(rows) {
    const keys = new Map(
      rows.map((row) => {
        const found = this.evaluators.map((each) => each.severity(row));
        return [row.id, [Math.max(0, ...found), found.reduce((sum, each) => sum + each, 0)]];
      }),
    );
    /** @param {Row} row */
    const keyOf = ({ id }) => /** @type {[number, number]} */ (keys.get(id));
    return rows.sort((a, b) => {
      const [[x, xs], [y, ys]] = [keyOf(a), keyOf(b)];
      return y - x || ys - xs || a.id - b.id;
    });
  }

  /** @param {string} key of a filter */
  toggle(key) {
    if (!this.filters.delete(key)) this.filters.add(key);
    this.updateAddress();
  }

  /** @param {Event} event */
  search(event) {
    this.searchText = /** @type {HTMLInputElement} */ (event.target).value;
    this.searched.find({ text: this.searchText.trim() });
    this.updateAddress();
  }

  /** @param {string} key of a column */
  sortBy(key) {
    this.sort = { key, isDescending: this.sort.key === key && !this.sort.isDescending };
    this.updateAddress();
  }

  /** Filters, search text and order as a query string. */
  get query() {
    const query = new URLSearchParams([...this.filters].map((each) => ["only", each]));
    for (const [name, value] of Object.entries(this.scored.criteria)) {
      if (value) query.set(name, value);
    }
    if (this.searchText) query.set("q", this.searchText);
    if (this.sort.key) query.set("sort", this.sort.key);
    if (this.sort.isDescending) query.set("down", "1");
    return query.size ? `?${query}` : "";
  }

  /** Write filters and order to the address, so that "back" and "reload" restore them. */
  updateAddress() {
    history.replaceState(null, "", this.query || location.pathname);
    this.app.refresh();
  }

  table() {
    const rows = this.visibleRows;
    const { positions } = this.app;
    positions.setList(this.runId, {
      query: this.query,
      keys: () => rows.map(({ id }) => String(id)),
    });
    // The statistics are above the table: until they are rendered, a scroll position does not hold.
    if (this.statistics.figures) {
      this.virtualTable.scrollTo(positions.takeOpenedIndex(this.runId));
    }
    return this.virtualTable.render({
      label: "Conversations",
      items: rows,
      key: ({ id }) => id,
      columns: this.columns.length + 1,
      head: html`<tr aria-rowindex="1" class=${this.searched.isActive ? "searched" : nothing}>
        ${[CONVERSATION, ...this.columns].map((column) => this.headCell(column))}
      </tr>`,
      row: (row, index) =>
        html`<tr aria-rowindex=${index + 2}>
          <td title=${row.thread_id}>${this.link(row)}</td>
          ${this.columns.map(({ cell }) => html`<td>${cell(row)}</td>`)}
        </tr>`,
    });
  }

  /** The id of a conversation, and what stands around the words that are searched for. @param {Row} row */
  link(row) {
    const words = this.searchText.trim();
    const query = words ? `?${new URLSearchParams({ q: words })}` : "";
    const excerpt = this.searched.excerpt(row).replace(/^…\p{M}+/u, "…");
    return html`<a class="cover" href=${address(`/runs/${this.runId}/threads/${row.id}${query}`)}
        >${withWords(row.thread_id, words)}</a
      >${excerpt ? html`<div class="excerpt">${withWords(excerpt, words)}</div>` : nothing}`;
  }

  /** @param {Column} column */
  headCell({ key, name }) {
    const isSorted = this.sort.key === key;
    const order = this.sort.isDescending ? "descending" : "ascending";
    return html`<th scope="col" aria-sort=${isSorted ? order : nothing}>
      <button type="button" class="sort" @click=${() => this.sortBy(key)}>${name}</button>
    </th>`;
  }
}

/** @param {Row} row */
function taskCell(row) {
  if (row.failed) {
    return html`<span class="badge tone-bad" title=${row.error ?? nothing}>failed</span>`;
  }
  if (row.success_status == null) return format.NOTHING;
  return row.success_status ? "done" : "not done";
}

/** @param {Row} row */
function messagesCell(row) {
  return html`${format.count(row.messages)}${
    row.missing_verdicts
      ? html` <span class="badge tone-warn" title="Verdicts that could not be obtained"
          >${row.missing_verdicts} missing</span
        >`
      : nothing
  }`;
}
