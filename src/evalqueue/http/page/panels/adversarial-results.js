// The results of an adversarial test: how often simulated users broke the chatbot, and the table of
// cases.

import { badge, banner, chip, figure } from "../components/basics.js";
import * as charts from "../components/charts.js";
import { VirtualTable } from "../components/virtual-table.js";
import { errorText } from "../data/errors.js";
import { PagedResults } from "../data/paged-results.js";
import { refresher } from "../data/refresher.js";
import { label, severity } from "../format/labels.js";
import * as format from "../format/values.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { RunStatistics } from "./run-statistics.js";
import { address } from "../shell/root.js";

/** @typedef {import("../client/index.js").Trial} Row */

const MIN_INTERVAL_MS = 1_000;
const VERDICTS = ["CRITICAL", "HARD FAIL", "SOFT FAIL", "PASS"];
const GROUPS = /** @type {const} */ ([
  ["by_difficulty", "Difficulty"],
  ["by_trait", "What makes the user difficult"],
  ["by_tactic", "Tactic"],
  ["by_persona", "Persona"],
]);

export class AdversarialResults {
  /** @type {Record<string, () => void>} */
  keys = {};

  /**
   * @param {import("../app.js").App} app
   * @param {string} runId
   * @param {URLSearchParams} query of the address: filters
   * @param {AbortSignal} signal
   */
  constructor(app, runId, query, signal) {
    this.app = app;
    this.runId = runId;
    this.signal = signal;
    /** @type {unknown} */
    this.error = null;
    this.filters = new Set(query.getAll("only"));
    /** @type {import("../client/index.js").Dialogue[]} conversations without a verdict */
    this.dialogues = [];
    /** @param {unknown} error */
    const onError = (error) => {
      this.error = app.reportError(error);
      app.refresh();
    };
    /** @type {PagedResults<Row>} */
    this.results = new PagedResults(
      async (after, limit) => {
        const { trials: rows, total } = await app.api.runs.trials(runId, { after, limit });
        return { rows, total };
      },
      () => {
        this.error = null;
        app.refresh();
      },
      onError,
      signal,
    );
    this.refreshDialogues = refresher(() => this.loadDialogues(), {
      signal,
      minIntervalMs: MIN_INTERVAL_MS,
      onError,
    });
    this.statistics = new RunStatistics(app, runId, signal, onError);
    this.virtualTable = new VirtualTable(() => app.refresh(), signal);
  }

  /** @param {{ reload?: boolean }} options */
  refresh(options) {
    this.results.refresh(options);
    this.statistics.refresh();
    this.refreshDialogues();
  }

  async loadDialogues() {
    this.dialogues = (await this.app.api.runs.dialogues(this.runId)).dialogues;
    this.app.refresh();
  }

  render() {
    const { figures } = this.statistics;
    return html`${
      this.error ? banner("failed", "Something can't be read", errorText(this.error)) : nothing
    }
    ${
      figures?.adversarial
        ? this.figures(/** @type {Record<string, any>} */ (figures.adversarial))
        : nothing
    }
    ${this.inProgress()} ${this.results.isLoaded ? this.cases() : nothing}
    ${figures ? this.statistics.callCharts() : nothing}`;
  }

  /** @param {Record<string, any>} statistics */
  figures(statistics) {
    const overall = statistics.attack_success.overall;
    const judged = statistics.judged || 0;
    const shares = VERDICTS.map((verdict) => {
      const count = statistics.verdict_distribution[verdict] ?? 0;
      const { low = null, high = null } = statistics.verdict_intervals?.[verdict] ?? {};
      return { label: verdict, count, share: judged ? count / judged : null, low, high };
    });
    return html`<section class="card grid narrow">
        ${figure(
          "Passed",
          format.percent(statistics.pass_rate),
          `of ${format.count(judged)} judged`,
        )}
        ${figure(
          "Broke the bot",
          format.percent(overall.rate),
          overall.low == null
            ? ""
            : `${format.percent(overall.low)} to ${format.percent(overall.high)}`,
        )}
        ${figure(
          "Not judged",
          format.count(statistics.infrastructure_failures),
          "excluded from every rate",
        )}
        ${figure(
          "Cases run",
          format.count(statistics.total_tests),
          statistics.planned_tests ? `of ${format.count(statistics.planned_tests)}` : "",
        )}
      </section>
      <div class="grid wide">
        <section class="card">
          <h2>Verdicts</h2>
          ${charts.distribution(shares, 0)}
        </section>
        ${GROUPS.map(([key, title]) =>
          this.successRates(title, statistics.attack_success[key] ?? {}),
        )}
        ${this.counts("Failure modes", statistics.failure_modes)}
        ${this.counts("How conversations ended", statistics.stop_reasons)}
        ${this.counts("Not judged, because", statistics.failures)}
      </div>`;
  }

  /** @param {string} title @param {Record<string, any>} rates */
  successRates(title, rates) {
    const rows = Object.entries(rates).map(([name, each]) => ({
      name: name.replaceAll("_", " "),
      ...each,
    }));
    if (!rows.length) return nothing;
    return html`<section class="card">
      <h2>${title} <span class="quiet small">how often the bot broke</span></h2>
      ${charts.rates(rows)}
    </section>`;
  }

  /** @param {string} title @param {Record<string, number> | undefined} counts */
  counts(title, counts) {
    const rows = Object.entries(counts ?? {});
    if (!rows.length) return nothing;
    return html`<section class="card">
      <h2>${title}</h2>
      <dl class="facts">
        ${rows.map(
          ([name, n]) =>
            html`<dt>${label(name)}</dt>
              <dd>${format.count(n)}</dd>`,
        )}
      </dl>
    </section>`;
  }

  inProgress() {
    if (!this.dialogues.length) return nothing;
    return html`<section class="card stack-tight">
      <h2>
        In progress
        <span class="quiet small"
          >${format.plural(this.dialogues.length, "conversation")} without a verdict</span
        >
      </h2>
      <ul role="list" class="stack-tight">
        ${repeat(
          this.dialogues,
          ({ case_id, trial }) => `${case_id}/${trial}`,
          (each) =>
            html`<li class="row">
              <span class="badge tone-${each.is_live ? "busy" : "warn"}"
                >${each.is_live ? "talking" : each.ended_at ? "to be judged" : "cut short"}</span
              >
              <a href=${address(`/runs/${this.runId}/cases/${each.case_id}`)}>${each.case_id}</a>
              <span class="small quiet"
                >${format.plural(each.turns.length, "turn")}${
                  each.credential ? `, as ${each.credential}` : ""
                }</span
              >
            </li>`,
        )}
      </ul>
    </section>`;
  }

  /** The filters as a query string. */
  get query() {
    const query = new URLSearchParams([...this.filters].map((each) => ["only", each]));
    return query.size ? `?${query}` : "";
  }

  /** @param {string} key of a filter */
  toggle(key) {
    if (!this.filters.delete(key)) this.filters.add(key);
    history.replaceState(null, "", this.query || location.pathname);
    this.app.refresh();
  }

  cases() {
    const all = this.results.all;
    const verdictKey = (/** @type {Row} */ row) => row.verdict ?? "none";
    const rows = all
      .filter((row) => !this.filters.size || this.filters.has(verdictKey(row)))
      .sort((a, b) => severity(a.verdict) - severity(b.verdict) || a.id - b.id);
    const chips = [...VERDICTS, "none"].map((key) => ({
      key,
      count: all.filter((row) => verdictKey(row) === key).length,
    }));
    return html`<section class="card flush">
      <div class="row-wide">
        <h2>
          Cases <span class="quiet small">${format.count(rows.length)}, the worst first</span>
        </h2>
      </div>
      <div class="row-wide">
        <div class="chips" role="group" aria-label="Filter cases">
          ${chips.map(({ key, count }) =>
            count || this.filters.has(key)
              ? chip({
                  text: key === "none" ? "not judged" : label(key),
                  count,
                  isPressed: this.filters.has(key),
                  onPress: () => this.toggle(key),
                })
              : nothing,
          )}
        </div>
      </div>
      ${
        rows.length
          ? this.table(rows)
          : html`<p class="empty">
              ${all.length ? "No case matches this filter." : "No case is judged yet."}
            </p>`
      }
    </section>`;
  }

  /** @param {Row[]} rows */
  table(rows) {
    const { positions } = this.app;
    positions.setList(this.runId, {
      query: this.query,
      keys: () => rows.map((row) => row.case_id),
    });
    // The statistics are above the table: until they are rendered, a scroll position does not hold.
    if (this.statistics.figures) {
      this.virtualTable.scrollTo(positions.takeOpenedIndex(this.runId));
    }
    return this.virtualTable.render({
      label: "Cases",
      items: rows,
      key: ({ id }) => id,
      columns: 6,
      head: html`<tr aria-rowindex="1">
        <th scope="col" class="name">Case</th>
        <th scope="col">Verdict</th>
        <th scope="col">Difficulty</th>
        <th scope="col">Tactic</th>
        <th scope="col">Ended</th>
        <th scope="col">Turns</th>
      </tr>`,
      row: (row, index) =>
        html`<tr aria-rowindex=${index + 2}>
          <td title=${row.label}>
            <a class="cover" href=${address(`/runs/${this.runId}/cases/${row.case_id}`)}
              >${row.label}</a
            >${row.trial > 1 ? html` <span class="quiet small">trial ${row.trial}</span>` : nothing}
          </td>
          <td>${badge(row.verdict, "not judged", row.error ?? undefined)}</td>
          <td>${row.difficulty}</td>
          <td>${row.tactic ?? format.NOTHING}</td>
          <td>${label(row.stop_reason)}</td>
          <td>
            ${format.count(row.total_turns)}${
              row.first_failing_turn
                ? html` <span class="quiet small">fails in ${row.first_failing_turn}</span>`
                : nothing
            }
          </td>
        </tr>`,
    });
  }
}
