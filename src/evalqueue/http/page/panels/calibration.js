// How often the judge of a run is wrong, by people's labels.

import { refresher } from "../data/refresher.js";
import * as format from "../format/values.js";
import { address } from "../shell/root.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const MIN_INTERVAL_MS = 1_000;

/** @typedef {import("../client/index.js").ScoreCalibration} ScoreCalibration */

export class Calibration {
  /**
   * @param {import("../app.js").App} app
   * @param {string} runId
   * @param {AbortSignal} signal
   * @param {(error: unknown) => void} onError
   */
  constructor(app, runId, signal, onError) {
    this.runId = runId;
    /** @type {ScoreCalibration[]} those with a verdict */
    this.scores = [];
    this.refresh = refresher(
      async () => {
        const { scores } = await app.api.runs.calibration(runId);
        this.scores = scores.filter(({ judged }) => judged);
        app.refresh();
      },
      { signal, minIntervalMs: MIN_INTERVAL_MS, onError },
    );
  }

  render() {
    if (!this.scores.length) return nothing;
    return html`<section class="card stack-tight">
      <div class="row-wide">
        <h2>By people's labels</h2>
        <a class="button tiny" href=${address(`/runs/${this.runId}/annotation`)}
          >Label conversations</a
        >
      </div>
      <div class="scroll" tabindex="0" role="region" aria-label="Rates by the judge and by people">
        <table class="table">
          <caption class="visually-hidden">
            Good conversations, by the judge and by people's labels
          </caption>
          <thead>
            <tr>
              <th scope="col">Score</th>
              <th scope="col" class="num">Judged good</th>
              <th scope="col" class="num">Corrected</th>
              <th scope="col" class="num">Labels</th>
              <th scope="col" class="num">Agreement</th>
            </tr>
          </thead>
          <tbody>
            ${this.scores.map(row)}
          </tbody>
        </table>
      </div>
      ${
        this.scores.some(({ labelled }) => labelled)
          ? nothing
          : html`<p class="hint">
              No conversation of this run has a label, so nothing says how often the judge is wrong.
            </p>`
      }
    </section>`;
  }
}

/** @param {ScoreCalibration} score */
function row(score) {
  const { title, judged, corrected, reason, random, labelled, judge_agreement: agreement } = score;
  return html`<tr>
    <td>${title}</td>
    <td class="num">${judged ? interval(judged) : nothing}</td>
    <td class="num" title=${reason ?? ""}>
      ${corrected ? interval(corrected) : html`<span class="quiet">uncalibrated</span>`}
    </td>
    <td class="num">
      ${format.count(labelled)}<span class="quiet">, ${format.count(random)} random</span>
    </td>
    <td class="num" title="Cohen's κ of judge and people, with its 95 % interval">
      ${
        agreement
          ? html`κ ${agreement.value.toFixed(2)}
              <span class="quiet">${agreement.low.toFixed(2)}–${agreement.high.toFixed(2)}</span>`
          : "–"
      }
    </td>
  </tr>`;
}

/** @param {{ share: number, low: number, high: number }} rate */
function interval({ share, low, high }) {
  return html`${format.percent(share)}
    <span class="quiet">${format.percent(low)}–${format.percent(high)}</span>`;
}
