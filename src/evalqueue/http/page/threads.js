// Conversations of a dataset, to be chosen one by one.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import * as format from "./format.js";
import { Rows } from "./virtual.js";

const PAGE = 1_000;

export class ThreadPicker {
  /**
   * @param {import("./app.js").App} app @param {import("./client/index.js").Dataset} dataset
   * @param {AbortSignal} signal @param {() => void} changed  others are chosen
   */
  constructor(app, dataset, signal, changed) {
    this.app = app;
    this.dataset = dataset;
    this.signal = signal;
    this.changed = changed;
    /** @type {Set<string>} */
    this.chosen = new Set();
    /** @type {import("./client/index.js").DatasetThread[]} */
    this.threads = [];
    this.words = "";
    this.isReading = false;
    this.rows = new Rows(() => app.refresh(), signal);
  }

  /** Page after page, as long as somebody looks. */
  async read() {
    if (this.isReading || this.threads.length) return;
    this.isReading = true;
    await this.app.attempt(async () => {
      while (this.threads.length < this.dataset.threads && !this.signal.aborted) {
        const after = this.threads.at(-1)?.position ?? 0;
        const page = await this.app.api.datasets.threads(this.dataset.id, {
          after,
          limit: PAGE,
          signal: this.signal,
        });
        if (!page.threads.length) break;
        this.threads.push(...page.threads);
        this.app.refresh();
      }
    });
    this.isReading = false;
  }

  /** @param {string} id */
  toggle(id) {
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.changed();
  }

  render() {
    void this.read();
    const wanted = this.words.trim().toLowerCase();
    const shown = wanted
      ? this.threads.filter(({ thread_id: id, opening, user_id: user }) =>
          `${id}\n${user}\n${opening}`.toLowerCase().includes(wanted),
        )
      : this.threads;
    return html`<div class="row-wide">
        <p class="small" role="status">${format.plural(this.chosen.size, "conversation")} chosen</p>
        <label class="search"
          ><span class="visually-hidden">Find conversations</span
          ><input
            type="search"
            placeholder="Find by id, user or words"
            .value=${this.words}
            @input=${(/** @type {Event} */ event) => this.find(event)}
        /></label>
      </div>
      ${
        this.chosen.size ? nothing : html`<p class="hint">Until some are chosen, all are meant.</p>`
      }
      ${this.rows.render({
        label: "Conversations to choose from",
        items: shown,
        key: ({ position }) => position,
        columns: 3,
        head: html`<tr aria-rowindex="1">
          <th scope="col">Conversation</th>
          <th scope="col">Begins</th>
          <th scope="col">Messages</th>
        </tr>`,
        row: (thread, index) =>
          html`<tr aria-rowindex=${index + 2}>
            <td>
              <label class="choice"
                ><input
                  type="checkbox"
                  .checked=${this.chosen.has(thread.thread_id)}
                  @change=${() => this.toggle(thread.thread_id)}
                /><span>${thread.thread_id}</span></label
              >
            </td>
            <td title=${thread.opening}>${thread.opening}</td>
            <td>${format.count(thread.messages)}</td>
          </tr>`,
      })}`;
  }

  /** @param {Event} event */
  find(event) {
    this.words = /** @type {HTMLInputElement} */ (event.target).value;
    this.app.refresh();
  }
}
