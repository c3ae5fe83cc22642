// The figures of a run, read again while it goes on, and never faster than they can be had.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import * as charts from "./charts.js";
import * as format from "./format.js";
import { steady } from "./steady.js";

const LEAST_MS = 1_000;
const SHARE = 4; // rest so many times as long as the last look took

export class Statistics {
  /** @param {import("./app.js").App} app @param {string} id @param {AbortSignal} signal @param {(error: unknown) => void} failed */
  constructor(app, id, signal, failed) {
    this.app = app;
    this.id = id;
    /** @type {import("./client/index.js").RunStatistics | null} */
    this.found = null;
    this.look = steady(() => this.read(), { signal, restMs: LEAST_MS, failed });
  }

  async read() {
    const began = performance.now();
    this.found = await this.app.api.runs.statistics(this.id);
    this.app.refresh();
    return Math.max(LEAST_MS, SHARE * (performance.now() - began));
  }

  callCharts() {
    const llm = this.found?.llm;
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
      <section class="card">
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
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </section>
    </div>`;
  }
}
