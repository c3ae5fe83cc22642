// The figures of a run, read again while it goes on, and never faster than they can be had.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import * as charts from "./charts.js";
import * as format from "./format.js";

const LEAST_MS = 1_000;
const SHARE = 4; // rest so many times as long as the last look took

export class Statistics {
  /** @param {import("./app.js").App} app @param {string} id @param {AbortSignal} signal @param {(error: unknown) => void} failed */
  constructor(app, id, signal, failed) {
    this.app = app;
    this.id = id;
    this.signal = signal;
    this.failed = failed;
    /** @type {import("./client/index.js").RunStatistics | null} */
    this.found = null;
    this.isLooking = false;
    this.isWanted = false;
  }

  look() {
    this.isWanted = true;
    if (!this.isLooking) void this.read();
  }

  async read() {
    this.isLooking = true;
    try {
      while (this.isWanted && !this.signal.aborted) {
        this.isWanted = false;
        const began = performance.now();
        this.found = await this.app.api.runs.statistics(this.id);
        this.app.refresh();
        const rest = Math.max(LEAST_MS, SHARE * (performance.now() - began));
        await new Promise((done) => setTimeout(done, rest));
      }
    } catch (error) {
      if (!this.signal.aborted) this.failed(error);
    } finally {
      this.isLooking = false;
    }
  }

  callCharts() {
    const llm = this.found?.llm;
    if (!llm?.calls) return nothing;
    return html`
      <div class="grid wide">
        <section class="card"><h2>Latency of LLM calls</h2>${charts.latency(llm.latency)}</section>
        <section class="card"><h2>Tokens over time</h2>${charts.tokens(llm.timeline)}</section>
        <section class="card"><h2>LLM calls</h2><div class="scroll" tabindex="0" role="region" aria-label="LLM calls by evaluator"><table class="table">
          <caption class="visually-hidden">LLM calls by evaluator</caption>
          <thead><tr><th scope="col">Evaluator</th><th scope="col" class="num">Calls</th><th scope="col" class="num">Failed</th><th scope="col" class="num">p50</th><th scope="col" class="num">p95</th><th scope="col" class="num">Tokens</th></tr></thead>
          <tbody>${llm.evaluators.map((each) => html`<tr><td>${each.evaluator}</td><td class="num">${format.count(each.calls)}</td><td class="num">${format.count(each.failed_calls)}</td>
            <td class="num">${format.milliseconds(each.p50_ms)}</td><td class="num">${format.milliseconds(each.p95_ms)}</td>
            <td class="num">${format.compact(each.tokens_in)} in, ${format.compact(each.tokens_out)} out</td></tr>`)}</tbody></table></div></section>
      </div>`;
  }
}
