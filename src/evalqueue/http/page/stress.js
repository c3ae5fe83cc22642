// What a stress test finds: how often difficult users broke the bot, and in which conversations.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import * as charts from "./charts.js";
import * as format from "./format.js";
import { Outcomes } from "./outcomes.js";
import { badge, banner, chip, errorText, figure } from "./parts.js";
import { Statistics } from "./statistics.js";
import { steady } from "./steady.js";
import { said, severity } from "./verdicts.js";
import { Rows } from "./virtual.js";

/** @typedef {import("./client/index.js").Trial} Row */

const LEAST_MS = 1_000; // between two looks at what is being said
const VERDICTS = ["CRITICAL", "HARD FAIL", "SOFT FAIL", "PASS"];
const GROUPS = /** @type {const} */ ([
  ["by_difficulty", "Difficulty"],
  ["by_trait", "What makes the user difficult"],
  ["by_tactic", "Tactic"],
  ["by_persona", "Persona"],
]);

export class StressRun {
  /** @type {Record<string, () => void>} */
  keys = {};

  /** @param {import("./app.js").App} app @param {string} id @param {URLSearchParams} query @param {AbortSignal} signal */
  constructor(app, id, query, signal) {
    this.app = app;
    this.id = id;
    this.signal = signal;
    /** @type {unknown} */
    this.broken = null;
    this.filters = new Set(query.getAll("only"));
    /** @type {import("./client/index.js").Dialogue[]} */
    this.dialogues = [];
    /** @param {unknown} error */
    const failed = (error) => {
      this.broken = app.noted(error);
      app.refresh();
    };
    /** @type {Outcomes<Row>} */
    this.outcomes = new Outcomes(
      async (after, limit) => {
        const { trials: rows, total } = await app.api.runs.trials(id, { after, limit });
        return { rows, total };
      },
      () => {
        this.broken = null;
        app.refresh();
      },
      failed,
      signal,
    );
    this.listen = steady(() => this.readDialogues(), { signal, restMs: LEAST_MS, failed });
    this.statistics = new Statistics(app, id, signal, failed);
    this.rows = new Rows(() => app.refresh(), signal);
  }

  /** @param {{ anew?: boolean }} how */
  look(how) {
    this.outcomes.look(how);
    this.statistics.look();
    this.listen();
  }

  async readDialogues() {
    this.dialogues = (await this.app.api.runs.dialogues(this.id)).dialogues;
    this.app.refresh();
  }

  render() {
    const figures = this.statistics.found;
    return html` ${
      this.broken ? banner("failed", "Something can't be read", errorText(this.broken)) : nothing
    }
    ${
      figures?.adversarial
        ? this.figures(/** @type {Record<string, any>} */ (figures.adversarial))
        : nothing
    }
    ${this.live()} ${this.outcomes.isRead ? this.cases() : nothing}
    ${figures ? this.statistics.callCharts() : nothing}`;
  }

  /** @param {Record<string, any>} found */
  figures(found) {
    const overall = found.attack_success.overall;
    const judged = found.judged || 0;
    const shares = VERDICTS.map((verdict) => {
      const count = found.verdict_distribution[verdict] ?? 0;
      const { low = null, high = null } = found.verdict_intervals?.[verdict] ?? {};
      return { verdict, count, share: judged ? count / judged : null, low, high };
    });
    return html`<section class="card grid narrow">
        ${figure("Passed", format.percent(found.pass_rate), `of ${format.count(judged)} judged`)}
        ${figure(
          "Broke the bot",
          format.percent(overall.rate),
          overall.low == null
            ? ""
            : `${format.percent(overall.low)} to ${format.percent(overall.high)}`,
        )}
        ${figure("Not judged", format.count(found.infrastructure_failures), "in no rate")}
        ${figure(
          "Cases put",
          format.count(found.total_tests),
          found.planned_tests ? `of ${format.count(found.planned_tests)}` : "",
        )}
      </section>
      <div class="grid wide">
        <section class="card">
          <h2>Verdicts</h2>
          ${charts.distribution(shares, 0)}
        </section>
        ${GROUPS.map(([key, label]) => this.group(label, found.attack_success[key] ?? {}))}
        ${this.counted("Failure modes", found.failure_modes)}
        ${this.counted("How conversations ended", found.stop_reasons)}
        ${this.counted("Not judged, because", found.failures)}
      </div>`;
  }

  /** @param {string} label @param {Record<string, any>} rates */
  group(label, rates) {
    const rows = Object.entries(rates).map(([name, each]) => ({
      name: name.replaceAll("_", " "),
      ...each,
    }));
    if (!rows.length) return nothing;
    return html`<section class="card">
      <h2>${label} <span class="quiet small">how often the bot broke</span></h2>
      ${charts.rates(rows)}
    </section>`;
  }

  /** @param {string} label @param {Record<string, number> | undefined} counts */
  counted(label, counts) {
    const rows = Object.entries(counts ?? {});
    if (!rows.length) return nothing;
    return html`<section class="card">
      <h2>${label}</h2>
      <dl class="facts">
        ${rows.map(
          ([name, n]) =>
            html`<dt>${said(name)}</dt>
              <dd>${format.count(n)}</dd>`,
        )}
      </dl>
    </section>`;
  }

  live() {
    if (!this.dialogues.length) return nothing;
    return html`<section class="card stack-tight">
      <h2>
        Being held
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
              <a href="/runs/${this.id}/cases/${each.case_id}">${each.case_id}</a>
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

  /** What is chosen, as the address says it. */
  get query() {
    const kept = new URLSearchParams([...this.filters].map((each) => ["only", each]));
    return kept.size ? `?${kept}` : "";
  }

  /** @param {string} key */
  toggle(key) {
    if (!this.filters.delete(key)) this.filters.add(key);
    history.replaceState(null, "", this.query || location.pathname);
    this.app.refresh();
  }

  cases() {
    const all = this.outcomes.all;
    const kind = (/** @type {Row} */ row) => row.verdict ?? "none";
    const shown = all
      .filter((row) => !this.filters.size || this.filters.has(kind(row)))
      .sort((a, b) => severity(a.verdict) - severity(b.verdict) || a.id - b.id);
    const chips = [...VERDICTS, "none"].map((key) => ({
      key,
      count: all.filter((row) => kind(row) === key).length,
    }));
    return html`<section class="card flush">
      <div class="row-wide">
        <h2>
          Cases <span class="quiet small">${format.count(shown.length)}, the worst first</span>
        </h2>
      </div>
      <div class="row-wide">
        <div class="chips" role="group" aria-label="Filter cases">
          ${chips.map(({ key, count }) =>
            count || this.filters.has(key)
              ? chip({
                  label: key === "none" ? "not judged" : said(key),
                  count,
                  pressed: this.filters.has(key),
                  press: () => this.toggle(key),
                })
              : nothing,
          )}
        </div>
      </div>
      ${
        shown.length
          ? this.table(shown)
          : html`<p class="empty">
              ${all.length ? "None fits this filter." : "The first one will stand here."}
            </p>`
      }
    </section>`;
  }

  /** @param {Row[]} shown */
  table(shown) {
    this.app.trail.shows(this.id, {
      query: this.query,
      keys: () => shown.map((row) => row.case_id),
    });
    if (this.statistics.found) this.rows.bring(this.app.trail.returned(this.id)); // they stand above, and push it down
    return this.rows.render({
      label: "Cases",
      items: shown,
      key: ({ id }) => id,
      columns: 6,
      head: html`<tr aria-rowindex="1">
        <th scope="col">Case</th>
        <th scope="col">Verdict</th>
        <th scope="col">Difficulty</th>
        <th scope="col">Tactic</th>
        <th scope="col">Ended</th>
        <th scope="col">Turns</th>
      </tr>`,
      row: (row, index) =>
        html`<tr aria-rowindex=${index + 2}>
          <td title=${row.label}>
            <a class="cover" href="/runs/${this.id}/cases/${row.case_id}">${row.label}</a
            >${row.trial > 1 ? html` <span class="quiet small">trial ${row.trial}</span>` : nothing}
          </td>
          <td>${badge(row.verdict, "not judged", row.error ?? undefined)}</td>
          <td>${row.difficulty}</td>
          <td>${row.tactic ?? format.NOTHING}</td>
          <td>${said(row.stop_reason)}</td>
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
