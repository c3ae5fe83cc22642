// The alerts that fire, above the jobs.

import { age } from "../components/basics.js";
import { refresher } from "../data/refresher.js";
import { address } from "../shell/root.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const MIN_INTERVAL_MS = 2_000;
const SHOWN = 5;

export class FiringAlerts {
  /**
   * @param {import("../app.js").App} app
   * @param {AbortSignal} signal
   */
  constructor(app, signal) {
    this.app = app;
    /** @type {import("../client/index.js").Alert[]} */
    this.alerts = [];
    this.refresh = refresher(
      async () => {
        const { alerts } = await app.api.alerts.list({ firing: true, limit: SHOWN + 1, signal });
        this.alerts = alerts;
        app.refresh();
      },
      { signal, minIntervalMs: MIN_INTERVAL_MS, onError: (error) => app.reportError(error) },
    );
  }

  render() {
    if (!this.alerts.length) return nothing;
    const more = this.alerts.length > SHOWN;
    return html`<section class="banner tone-bad" aria-label="Alerts">
      <strong>Alerts that fire</strong>
      <ul class="stack-tight" role="list">
        ${this.alerts.slice(0, SHOWN).map((each) => this.row(each))}
      </ul>
      ${more ? html`<p class="small quiet">There are more.</p>` : nothing}
    </section>`;
  }

  /** @param {import("../client/index.js").Alert} alert */
  row({ name, firing_since, last_event }) {
    return html`<li>
      <b>${name}</b>
      <span>${last_event?.explanation}</span>
      <span class="small quiet">
        ${age(firing_since, this.app.now)}
        ${
          last_event?.run_id
            ? html`· <a href=${address(`/runs/${last_event.run_id}`)}>run</a>`
            : last_event?.job_id
              ? html`· <a href=${address(`/jobs/${last_event.job_id}`)}>job</a>`
              : nothing
        }
      </span>
    </li>`;
  }
}
