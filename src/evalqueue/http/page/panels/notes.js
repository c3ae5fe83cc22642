// What people write about one conversation of a run.

import { age } from "../components/basics.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const MAX_CHARACTERS = 4_000;

/** @typedef {import("../client/index.js").ThreadNote} ThreadNote */

export class Notes {
  /** @param {import("../app.js").App} app @param {string} runId @param {AbortSignal} signal */
  constructor(app, runId, signal) {
    this.app = app;
    this.runId = runId;
    this.signal = signal;
    /** @type {ThreadNote[] | null} */
    this.notes = null;
    this.threadId = "";
    this.text = "";
    this.isSaving = false;
  }

  /** @param {string} threadId */
  async load(threadId) {
    this.threadId = threadId;
    const found = await this.app.attempt(
      () => this.app.api.runs.notes(this.runId, { thread_id: threadId }),
      this.signal,
    );
    if (!found || this.signal.aborted) return;
    this.notes = found.notes;
    this.app.refresh();
  }

  /** @param {Event} event */
  async save(event) {
    event.preventDefault();
    if (this.isSaving) return;
    this.isSaving = true;
    this.app.refresh();
    const added = await this.app.attempt(
      () => this.app.api.runs.addNote(this.runId, { thread_id: this.threadId, note: this.text }),
      this.signal,
    );
    this.isSaving = false;
    if (added) {
      this.notes = [...(this.notes ?? []), added];
      this.text = "";
    }
    this.app.refresh();
  }

  render() {
    if (!this.notes) return nothing;
    return html`<ul role="list" class="stack-tight">
        ${this.notes.map((each) => this.row(each))}
      </ul>
      <form class="stack-tight" @submit=${(/** @type {Event} */ event) => this.save(event)}>
        <label class="field"
          ><span>New note</span
          ><textarea
            rows="2"
            maxlength=${MAX_CHARACTERS}
            .value=${this.text}
            @input=${(/** @type {Event} */ event) => {
              this.text = /** @type {HTMLTextAreaElement} */ (event.target).value;
              this.app.refresh();
            }}
          ></textarea>
        </label>
        <div class="row">
          <button ?disabled=${this.isSaving || !this.text.trim()}>Add note</button>
        </div>
      </form>`;
  }

  /** @param {ThreadNote} note */
  row({ note, written_by, created_at }) {
    return html`<li>
      <p class="note-text">${note}</p>
      <span class="small quiet">${written_by}, ${age(created_at, this.app.now)}</span>
    </li>`;
  }
}
