// The conversations of a dataset, to be chosen one by one.

import { VirtualTable } from "../components/virtual-table.js";
import * as format from "../format/values.js";
import { html } from "../vendor/lit-html/lit-html.js";

const PAGE_SIZE = 1_000;

export class ConversationPicker {
  /**
   * @param {import("../app.js").App} app @param {import("../client/index.js").Dataset} dataset
   * @param {AbortSignal} signal @param {() => void} onChange the choice has changed
   */
  constructor(app, dataset, signal, onChange) {
    this.app = app;
    this.dataset = dataset;
    this.signal = signal;
    this.onChange = onChange;
    /** @type {Set<string>} */
    this.chosen = new Set();
    /** @type {import("../client/index.js").DatasetThread[]} */
    this.threads = [];
    this.searchText = "";
    this.isLoading = false;
    this.virtualTable = new VirtualTable(() => app.refresh(), signal);
  }

  /** Read all pages, unless the view is left. */
  async load() {
    if (this.isLoading || this.threads.length) return;
    this.isLoading = true;
    await this.app.attempt(async () => {
      while (this.threads.length < this.dataset.threads && !this.signal.aborted) {
        const after = this.threads.at(-1)?.position ?? 0;
        const page = await this.app.api.datasets.threads(this.dataset.id, {
          after,
          limit: PAGE_SIZE,
          signal: this.signal,
        });
        if (!page.threads.length) break;
        this.threads.push(...page.threads);
        this.app.refresh();
      }
    });
    this.isLoading = false;
  }

  /** @param {string} id */
  toggle(id) {
    if (!this.chosen.delete(id)) this.chosen.add(id);
    this.onChange();
  }

  render() {
    void this.load();
    const text = this.searchText.trim().toLowerCase();
    const threads = text
      ? this.threads.filter(({ thread_id: id, opening, user_id: user }) =>
          `${id}\n${user}\n${opening}`.toLowerCase().includes(text),
        )
      : this.threads;
    return html`<div class="row-wide">
        <p class="small" role="status">${format.plural(this.chosen.size, "conversation")} chosen</p>
        <label class="search"
          ><span class="visually-hidden">Find conversations</span
          ><input
            type="search"
            placeholder="Find by id, user or text"
            .value=${this.searchText}
            @input=${(/** @type {Event} */ event) => this.search(event)}
        /></label>
      </div>
      ${this.virtualTable.render({
        label: "Conversations to choose from",
        items: threads,
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
  search(event) {
    this.searchText = /** @type {HTMLInputElement} */ (event.target).value;
    this.app.refresh();
  }
}
