// Which evaluators a new evaluation uses: those of its app, and those of the catalogue.

import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../client/index.js").Evaluator} Evaluator */

export class EvaluatorPicker {
  /**
   * @param {import("../app.js").App} app
   * @param {AbortSignal} signal of the view
   * @param {() => void} onChange after a choice
   */
  constructor(app, signal, onChange) {
    this.app = app;
    this.signal = signal;
    this.onChange = onChange;
    /** @type {Evaluator[]} those that a job of the app can name */
    this.evaluators = [];
    /** The app whose evaluators these are; empty: those that are installed. */
    this.appId = "";
    /** The app whose evaluators were requested last. */
    this.requestedId = "";
    /** @type {Set<string>} names of those that are not as they are by default */
    this.switched = new Set();
  }

  /** Load the evaluators of an app. @param {string} appId */
  async load(appId) {
    this.requestedId = appId;
    const loaded = await this.app.api.evaluators({
      ...(appId ? { app_id: appId } : {}),
      signal: this.signal,
    });
    if (this.requestedId !== appId) return;
    this.evaluators = loaded;
    this.appId = appId;
  }

  /** The params of a job. */
  params() {
    if (!this.evaluators.length) return {};
    const wanted = this.evaluators.filter((each) => this.isOn(each));
    return { evaluators: wanted.map(({ name }) => name) };
  }

  /** @param {Evaluator} evaluator */
  isOn({ name, origin }) {
    return this.switched.has(name) === (origin === "catalogue");
  }

  /** @param {string} name */
  toggle(name) {
    if (!this.switched.delete(name)) this.switched.add(name);
    this.onChange();
  }

  /** @param {Record<string, number>} calls of each evaluator */
  render(calls) {
    const catalogue = this.evaluators.filter(({ origin }) => origin === "catalogue");
    const others = this.evaluators.filter(({ origin }) => origin !== "catalogue");
    return html`${others.map((each) => this.choice(each, calls))}
    ${
      catalogue.length
        ? html`<details ?open=${catalogue.some((each) => this.isOn(each))}>
            <summary>From the catalogue</summary>
            <div class="stack-tight">${catalogue.map((each) => this.choice(each, calls))}</div>
          </details>`
        : nothing
    }`;
  }

  /** @param {Evaluator} evaluator @param {Record<string, number>} calls */
  choice(evaluator, calls) {
    const { name, title, question, calls: callsText } = evaluator;
    const count = calls[name];
    return html`<label class="choice"
      ><input type="checkbox" .checked=${this.isOn(evaluator)} @change=${() => this.toggle(name)} />
      <span
        ><strong>${title}</strong> ${
          count == null ? nothing : html`<span class="quiet">${format.plural(count, "call")}</span>`
        }<br /><span class="hint">${question} ${callsText}</span></span
      ></label
    >`;
  }
}
