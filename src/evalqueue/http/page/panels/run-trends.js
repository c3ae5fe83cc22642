// How the results of an app's runs change from one to the next.

import { evaluatorsOf } from "../evaluators/registry.js";
import * as format from "../format/values.js";
import { html, nothing, svg } from "../vendor/lit-html/lit-html.js";

/**
 * @typedef {import("../client/index.js").EvalRun} Run
 * @typedef {import("../evaluators/registry.js").Evaluator} Evaluator
 * @typedef {import("../evaluators/declared.js").TrendPoint & { run: Run }} Point
 */

const MAX_RUNS = 30;
const [WIDTH, HEIGHT, MARGIN] = [240, 48, 4];

/**
 * A line for each evaluator of the newest run that at least two runs have measured.
 * @param {Run[]} runs of one app, newest first
 */
export function runTrends(runs) {
  const ended = runs.filter(({ summary }) => summary).slice(0, MAX_RUNS);
  const configs = /** @type {Record<string, any>[]} */ (ended.map(({ config }) => config));
  // A run that was cancelled early, or that puts test cases to a chatbot, has none.
  const newest = configs.find(({ evaluators }) => evaluators?.length);
  const evaluators = evaluatorsOf(newest?.evaluators ?? []);
  const trends = evaluators.map((evaluator) => trend(evaluator, ended));
  if (trends.every((each) => each === nothing)) return nothing;
  return html`<section class="card stack-tight" aria-labelledby="trends">
    <h2 id="trends">From run to run</h2>
    <div class="grid narrow">${trends}</div>
    <p class="hint">
      Shares of what was judged, without intervals: small differences may be chance. The line breaks
      where the evaluator, its judge, the app or the data changed.
    </p>
  </section>`;
}

/** @param {Evaluator} evaluator @param {Run[]} runs newest first */
function trend(evaluator, runs) {
  /** @type {Point[]} */
  const points = runs
    .flatMap((run) => {
      const point = evaluator.trendPoint(/** @type {Record<string, any>} */ (run.summary ?? {}));
      return point ? [{ ...point, run }] : [];
    })
    .reverse();
  const [before, last] = points.slice(-2);
  if (!before || !last) return nothing;
  return html`<div class="figure">
    <span class="small quiet">${evaluator.trendTitle}</span>
    <b>${evaluator.trendText(last.value)}</b>
    <span class="small quiet">${changeText(evaluator, before, last)}</span>
    ${line(evaluator, points)}
  </div>`;
}

/** @param {Evaluator} evaluator @param {Point} before @param {Point} last */
function changeText(evaluator, before, last) {
  const change = evaluator.trendText(before.value);
  return `${change} in the run before${difference(evaluator, before, last)}`;
}

/** @param {Evaluator} evaluator @param {Point} before @param {Point} last */
function difference(evaluator, before, last) {
  if (before.version !== last.version) return ", by another version";
  if (!isSameJudge(evaluator, before, last)) return ", by another judge";
  return isSameData(before, last) ? "" : ", of other data";
}

/**
 * Whether two runs measured the same thing of the same data.
 * @param {Evaluator} evaluator @param {Point} a @param {Point} b
 */
function isComparable(evaluator, a, b) {
  return isSameData(a, b) && a.version === b.version && isSameJudge(evaluator, a, b);
}

/** @param {Point} a @param {Point} b */
function isSameData({ run: a }, { run: b }) {
  return a.data_path === b.data_path && a.total_items === b.total_items;
}

/** @param {Evaluator} evaluator @param {Point} a @param {Point} b */
function isSameJudge({ callsLlm }, { run: a }, { run: b }) {
  return !callsLlm || (a.llm_provider === b.llm_provider && a.llm_model === b.llm_model);
}

/**
 * @param {Evaluator} evaluator
 * @param {Point[]} points oldest first
 */
function line(evaluator, points) {
  const values = points.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  /** @param {number} i */
  const x = (i) => MARGIN + (i * (WIDTH - 2 * MARGIN)) / (points.length - 1);
  /** @param {number} value */
  const y = (value) =>
    HEIGHT - MARGIN - (high === low ? 0.5 : (value - low) / (high - low)) * (HEIGHT - 2 * MARGIN);
  const text = points.map(({ value }) => evaluator.trendText(value)).join(", ");
  return html`<svg
    class="trend"
    viewBox="0 0 ${WIDTH} ${HEIGHT}"
    role="img"
    aria-label="Oldest to newest: ${text}"
  >
    ${points.slice(1).map((point, i) => {
      const from = /** @type {Point} */ (points[i]);
      return isComparable(evaluator, from, point)
        ? svg`<line x1=${x(i)} y1=${y(from.value)} x2=${x(i + 1)} y2=${y(point.value)} />`
        : nothing;
    })}
    ${points.map(
      (point, i) =>
        svg`<circle cx=${x(i)} cy=${y(point.value)} r="3"><title>${pointTitle(evaluator, point)}</title></circle>`,
    )}
  </svg>`;
}

/** @param {Evaluator} evaluator @param {Point} point */
function pointTitle(evaluator, { value, measured, run }) {
  const name = run.name || run.command;
  return `${evaluator.trendText(value)} of ${format.count(measured)}: ${name}, ${format.moment(run.created_at)}`;
}
