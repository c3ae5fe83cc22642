// The data of a new evaluation: a file that is dropped, a stored dataset, or the bundled sample.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { Mapping } from "./mapping.js";
import * as format from "./format.js";
import { banner, errorText, problemsOf, progress } from "./parts.js";

const HEAD_BYTES = 256 * 1024; // enough to see the columns
const SHOWN_INTENTS = 8;
const BUNDLED = 48;

export class DataChoice {
  /** @param {import("./app.js").App} app @param {AbortSignal} signal @param {() => void} changed */
  constructor(app, signal, changed) {
    this.app = app;
    this.signal = signal;
    this.changed = changed;
    /** @type {import("./client/index.js").Dataset | null} */
    this.dataset = null;
    this.isSample = false;
    this.sample = 10;
    /** @type {File | null} */
    this.file = null;
    /** @type {Mapping | null} the columns of a file with other headers */
    this.mapping = null;
    /** @type {{ sent: number, total: number } | null} */
    this.sending = null;
    /** @type {unknown} */
    this.broken = null;
    this.isOver = false;
    /** @type {import("./client/index.js").Dataset[]} */
    this.stored = [];
    this.uploading = new AbortController();
    signal.addEventListener("abort", () => this.uploading.abort());
    void app.attempt(async () => {
      this.stored = await app.api.datasets.list({ limit: 100 });
      app.refresh();
    }, signal);
  }

  get isReady() {
    return this.isSample || this.dataset !== null;
  }

  /** What the job's params say of it. */
  source() {
    return this.isSample ? { total_items: this.sample } : { dataset_id: this.dataset?.id };
  }

  /** @param {import("./client/index.js").Dataset} dataset */
  take(dataset) {
    this.dataset = dataset;
    this.isSample = false;
    this.broken = null;
    this.changed();
  }

  reset() {
    this.uploading.abort();
    this.dataset = null;
    this.isSample = false;
    this.file = null;
    this.mapping = null;
    this.sending = null;
    this.broken = null;
    this.changed();
  }

  /** Look at the beginning of a file: are these columns we know? @param {File} file */
  async open(file) {
    this.reset();
    this.file = file;
    this.changed();
    try {
      const head = file.slice(0, HEAD_BYTES);
      const seen = await this.app.api.runs.preview(
        {},
        { file: head, fileName: file.name, head: file.size > HEAD_BYTES },
      );
      if (this.file !== file || this.signal.aborted) return; // another was chosen meanwhile
      const isKnown = Object.entries(seen.mapping).every(([ours, theirs]) => ours === theirs);
      if (seen.columns.length && (seen.missing_columns.length || !isKnown)) {
        this.mapping = new Mapping(seen, () => this.app.refresh());
        this.changed();
        return;
      }
      await this.send(file);
    } catch (error) {
      if (this.file === file) this.fail(error);
    }
  }

  /** @param {File} file @param {Record<string, string>} [mapping] */
  async send(file, mapping) {
    this.uploading = new AbortController();
    this.broken = null;
    this.sending = { sent: 0, total: file.size };
    this.changed();
    try {
      const dataset = await this.app.api.datasets.upload(file, {
        name: file.name,
        ...(mapping ? { mapping } : {}),
        signal: this.uploading.signal,
        onProgress: (sent, total) => {
          this.sending = { sent, total };
          this.app.refresh();
        },
      });
      if (this.signal.aborted || this.file !== file) return;
      this.sending = null;
      this.mapping = null;
      this.take(dataset);
    } catch (error) {
      if (this.file === file) this.fail(error);
    }
  }

  /** @param {unknown} error */
  fail(error) {
    this.sending = null;
    if (error instanceof DOMException && error.name === "AbortError") return;
    this.broken = this.app.noted(error);
    this.changed();
  }

  render() {
    if (this.isReady) return this.chosen();
    return html` ${this.broken ? this.refusal() : nothing}
    ${this.sending ? this.upload() : this.mapping && this.file ? this.columns() : this.choice()}`;
  }

  choice() {
    return html`<div class="grid">
      <div
        class="drop ${this.isOver ? "over" : ""}"
        @dragover=${(/** @type {DragEvent} */ event) => this.over(event, true)}
        @dragleave=${(/** @type {DragEvent} */ event) => this.over(event, false)}
        @drop=${(/** @type {DragEvent} */ event) => this.dropped(event)}
      >
        <strong>Drop a CSV or JSONL file of conversations here</strong>
        <p class="hint">
          CSV: a row for each message. JSONL: a line for each conversation, as OpenAI's chat
          messages.
        </p>
        <label class="button primary"
          ><input
            id="file"
            class="visually-hidden"
            type="file"
            accept=".csv,.jsonl,.ndjson,text/csv,application/jsonl"
            @change=${(/** @type {Event} */ event) => this.picked(event)}
          />Choose a file</label
        >
      </div>
      <div class="card stack-tight">
        <h2>Or take what is here</h2>
        ${
          this.stored.length
            ? html`<label class="field"
                ><span>A stored dataset</span>
                <select
                  id="stored"
                  @change=${(/** @type {Event} */ event) => this.pickStored(event)}
                >
                  <option value="">Choose …</option>
                  ${this.stored.map(
                    (each) =>
                      html`<option value=${each.id}>
                        ${each.name} (${format.plural(each.threads, "conversation")})
                      </option>`,
                  )}
                </select></label
              >`
            : nothing
        }
        <div class="row">
          <label class="field"
            ><span>Bundled conversations, for a first try</span
            ><input
              type="number"
              min="1"
              max=${BUNDLED}
              value=${this.sample}
              @input=${(/** @type {Event} */ event) => {
                this.sample = Math.min(
                  BUNDLED,
                  Math.max(
                    1,
                    Math.round(Number(/** @type {HTMLInputElement} */ (event.target).value)),
                  ),
                );
              }}
              @change=${(/** @type {Event} */ event) => {
                /** @type {HTMLInputElement} */ (event.target).value = String(this.sample);
              }}
          /></label>
        </div>
        <button
          type="button"
          @click=${() => {
            this.isSample = true;
            this.changed();
          }}
        >
          Take the bundled ones
        </button>
      </div>
    </div>`;
  }

  /** @param {DragEvent} event @param {boolean} isOver */
  over(event, isOver) {
    event.preventDefault();
    if (this.isOver === isOver) return;
    this.isOver = isOver;
    this.app.refresh();
  }

  /** @param {DragEvent} event */
  dropped(event) {
    this.over(event, false);
    const file = event.dataTransfer?.files[0];
    if (file) void this.open(file);
  }

  /** @param {Event} event */
  picked(event) {
    const input = /** @type {HTMLInputElement} */ (event.target);
    const file = input.files?.[0];
    input.value = ""; // the same one, mended, is another choice
    if (file) void this.open(file);
  }

  /** @param {Event} event */
  pickStored(event) {
    const dataset = this.stored.find(
      ({ id }) => id === /** @type {HTMLSelectElement} */ (event.target).value,
    );
    if (dataset) this.take(dataset);
  }

  upload() {
    const { sent, total } = /** @type {{ sent: number, total: number }} */ (this.sending);
    return html`<div class="card stack-tight">
      <h2>${this.file?.name}</h2>
      ${progress({ current: sent, total, status: "running", label: "Upload" })}
      <div class="row-wide">
        <p class="hint">
          ${sent < total ? `${format.bytes(sent)} of ${format.bytes(total)} sent` : nothing}<span
            role="status"
            >${sent < total ? nothing : "Reading and checking every row …"}</span
          >
        </p>
        <button type="button" @click=${() => this.reset()}>Stop</button>
      </div>
    </div>`;
  }

  columns() {
    const file = /** @type {File} */ (this.file);
    return html`<div class="card stack-tight">
      <h2>Which column of ${file.name} is which?</h2>
      ${this.mapping?.render()}
      <div class="row">
        <button
          type="button"
          class="primary"
          ?disabled=${!this.mapping?.isWhole}
          @click=${() => this.send(file, this.mapping?.chosen)}
        >
          Go on
        </button>
        <button type="button" @click=${() => this.reset()}>Another file</button>
      </div>
    </div>`;
  }

  /** Every row that is wrong, where it stands, and why. */
  refusal() {
    const rows = problemsOf(this.broken).filter(({ type }) => type === "bad_row");
    if (!rows.length)
      return banner(
        "failed",
        `${this.file?.name ?? "This"} can't be taken`,
        errorText(this.broken),
      );
    const rest = problemsOf(this.broken).filter(({ type }) => type !== "bad_row");
    return html` ${banner(
        "failed",
        `${this.file?.name}: ${format.plural(rows.length, "fault")}, so nothing was stored`,
        rest.map(({ msg }) => msg).join("\n"),
      )}
      <div class="card flush">
        <div class="scroll" tabindex="0" role="region" aria-label="Bad rows">
          <table class="table" id="bad-rows">
            <caption class="visually-hidden">
              Bad rows
            </caption>
            <thead>
              <tr>
                <th scope="col" class="num">Row</th>
                <th scope="col">Column</th>
                <th scope="col">What is wrong</th>
              </tr>
            </thead>
            <tbody>
              ${rows.map(
                ({ ctx }) =>
                  html`<tr>
                    <td class="num">${ctx?.row ?? "file"}</td>
                    <td><code>${ctx?.column ?? ""}</code></td>
                    <td class="grow">${ctx?.reason}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </div>`;
  }

  chosen() {
    const dataset = this.dataset;
    if (!dataset)
      return html`<div class="card row-wide">
        <h2>Bundled conversations</h2>
        <button type="button" @click=${() => this.reset()}>Choose other data</button>
      </div>`;
    const intents = Object.entries(dataset.intents);
    return html`<section class="card" aria-label="Preview">
      <div class="row-wide">
        <h2>${dataset.name}</h2>
        <button type="button" @click=${() => this.reset()}>Choose other data</button>
      </div>
      <dl class="facts">
        <dt>Conversations</dt>
        <dd>
          ${format.count(dataset.threads)}, ${format.plural(dataset.messages, "message")} of
          ${format.plural(dataset.users, "user")}
        </dd>
        <dt>From – to</dt>
        <dd>${format.dayRange(dataset.first_at, dataset.last_at)}</dd>
        <dt>Intents</dt>
        <dd>
          <span class="chips"
            >${intents
              .slice(0, SHOWN_INTENTS)
              .map(
                ([label, n]) =>
                  html`<span class="badge tone-none">${label} ${format.count(n)}</span>`,
              )}${
              intents.length > SHOWN_INTENTS
                ? html`<span class="quiet small">and ${intents.length - SHOWN_INTENTS} more</span>`
                : nothing
            }</span
          >
        </dd>
        <dt>With photos</dt>
        <dd>${format.count(dataset.messages_with_images)}</dd>
        <dt>With errors</dt>
        <dd>${format.count(dataset.messages_with_errors)}</dd>
        <dt>Bad rows</dt>
        <dd>none</dd>
      </dl>
    </section>`;
  }
}
