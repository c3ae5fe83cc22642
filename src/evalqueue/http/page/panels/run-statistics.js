// The statistics of a run, read again while it goes on; and the charts of its LLM calls.

import * as charts from "../components/charts.js";
import { refresher } from "../data/refresher.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const MIN_INTERVAL_MS = 1_000;
const PAUSE_FACTOR = 4; // the pause after a read is this many times its duration

export class RunStatistics {
  /**
   * @param {import("../app.js").App} app
   * @param {string} runId
   * @param {AbortSignal} signal
   * @param {(error: unknown) => void} onError
   */
  constructor(app, runId, signal, onError) {
    this.app = app;
    this.runId = runId;
    /** @type {import("../client/index.js").RunStatistics | null} */
    this.figures = null;
    this.refresh = refresher(() => this.load(), {
      signal,
      minIntervalMs: MIN_INTERVAL_MS,
      onError,
    });
  }

  async load() {
    const started = performance.now();
    this.figures = await this.app.api.runs.statistics(this.runId);
    this.app.refresh();
    return Math.max(MIN_INTERVAL_MS, PAUSE_FACTOR * (performance.now() - started));
  }

  callCharts() {
    const llm = this.figures?.llm;
    if (!llm?.calls) return nothing;
    return html`<div class="grid wide">
      <section class="card">
        <h2>Latency of LLM calls</h2>
        ${charts.latency(llm.latency)}
      </section>
      <section class="card">
        <h2>Tokens over time</h2>
        ${charts.tokens(llm.timeline)}
      </section>
      <section class="card whole-row">
        <h2>LLM calls</h2>
        <div class="scroll" tabindex="0" role="region" aria-label="LLM calls by evaluator">
          <table class="table">
            <caption class="visually-hidden">
              LLM calls by evaluator
            </caption>
            <thead>
              <tr>
                <th scope="col">Evaluator</th>
                <th scope="col" class="num">Calls</th>
                <th scope="col" class="num">Failed</th>
                <th scope="col" class="num">p50</th>
                <th scope="col" class="num">p95</th>
                <th scope="col" class="num">Tokens</th>
                <th scope="col" class="num">Cost</th>
              </tr>
            </thead>
            <tbody>
              ${llm.evaluators.map(
                (each) =>
                  html`<tr>
                    <td>${each.evaluator}</td>
                    <td class="num">${format.count(each.calls)}</td>
                    <td class="num">${format.count(each.failed_calls)}</td>
                    <td class="num">${format.milliseconds(each.p50_ms)}</td>
                    <td class="num">${format.milliseconds(each.p95_ms)}</td>
                    <td class="num">
                      ${format.compact(each.tokens_in)} in, ${format.compact(each.tokens_out)} out
                    </td>
                    <td class="num" title=${format.unpriced(each)}>
                      ${format.dollars(each.cost_usd)}
                    </td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </section>
    </div>`;
  }
}
