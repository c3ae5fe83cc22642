// What a drift check came to: the alarm with its reasons, and each score judged twice.

import { banner } from "../components/basics.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

/**
 * @typedef {object} DriftScore
 * @property {string} title
 * @property {boolean} alarm
 * @property {number} pairs
 * @property {number} flips
 * @property {number} better
 * @property {number} worse
 * @property {{ value: number, low: number, high: number } | null} kappa
 * @property {number} p_value
 */

/**
 * @typedef {object} DriftResult
 * @property {boolean} alarm
 * @property {string[]} reasons
 * @property {string} anchor_run_id
 * @property {string} checked_run_id
 * @property {DriftScore[]} scores
 */

/**
 * The result of a job, if it is one of a drift check.
 * @param {{ job_type: string, result?: Record<string, unknown> | null }} job
 * @returns {DriftResult | null}
 */
export function driftOf({ job_type, result }) {
  const isDrift =
    job_type === "check-drift" && Array.isArray(result?.scores) && Array.isArray(result.reasons);
  return isDrift ? /** @type {DriftResult} */ (/** @type {unknown} */ (result)) : null;
}

/** @param {DriftResult} result */
export function driftResults({ alarm, reasons, anchor_run_id, checked_run_id, scores }) {
  return html`${banner(
      alarm ? "failed" : "completed",
      alarm ? "The judge has changed" : "No sign that the judge has changed",
      reasons.join(". "),
      html`<a
        class="button"
        href=${address(`/runs/${encodeURIComponent(checked_run_id)}/compare/${encodeURIComponent(anchor_run_id)}`)}
        >Compare the two runs</a
      >`,
    )}
    <section class="card stack-tight">
      <h2>Judged twice</h2>
      <div class="scroll" tabindex="0" role="region" aria-label="Scores that were judged twice">
        <table class="table cards">
          <caption class="visually-hidden">
            Scores that were judged twice
          </caption>
          <thead>
            <tr>
              <th scope="col">Score</th>
              <th scope="col" class="num">Differ</th>
              <th scope="col" class="num">Better</th>
              <th scope="col" class="num">Worse</th>
              <th scope="col" class="num">Agreement</th>
              <th scope="col" class="num">Adjusted p</th>
            </tr>
          </thead>
          <tbody>
            ${scores.map(row)}
          </tbody>
        </table>
      </div>
    </section>`;
}

/** @param {DriftScore} score */
function row({ title, alarm, pairs, flips, better, worse, kappa, p_value }) {
  return html`<tr>
    <td data-label="Score">
      ${title}${alarm ? html` <strong class="wrong">alarm</strong>` : nothing}
    </td>
    <td data-label="Differ" class="num">
      ${format.count(flips)}<span class="quiet"> of ${format.count(pairs)}</span>
    </td>
    <td data-label="Better" class="num">${format.count(better)}</td>
    <td data-label="Worse" class="num">${format.count(worse)}</td>
    <td
      data-label="Agreement"
      class="num"
      title="Cohen's κ of both judgements, with its 95 % interval"
    >
      ${
        kappa
          ? html`κ ${kappa.value.toFixed(2)}
              <span class="quiet">${kappa.low.toFixed(2)}–${kappa.high.toFixed(2)}</span>`
          : format.NOTHING
      }
    </td>
    <td data-label="Adjusted p" class="num">${p_value < 0.001 ? "< 0.001" : p_value.toFixed(3)}</td>
  </tr>`;
}
