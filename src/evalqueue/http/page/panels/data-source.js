// The data of a new evaluation: an uploaded file, a stored dataset, or bundled conversations.

import { banner, progress } from "../components/basics.js";
import { errorText, isAborted, problemsOf } from "../data/errors.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ColumnMapping } from "./column-mapping.js";

const HEAD_BYTES = 256 * 1024; // of a file, to detect its columns
const IS_READ_WHOLE = /\.(xlsx|xlsm|parquet|pq)$/i; // whose beginning says nothing
const MASKS = /** @type {const} */ (["emails", "phones", "cards"]);
const MAX_INTENTS = 8;
const BUNDLED_COUNT = 48;

export class DataSource {
  /**
   * @param {import("../app.js").App} app
   * @param {AbortSignal} signal
   * @param {() => void} onChange
   */
  constructor(app, signal, onChange) {
    this.app = app;
    this.signal = signal;
    this.onChange = onChange;
    /** @type {import("../client/index.js").Dataset | null} */
    this.dataset = null;
    this.isBundled = false;
    this.bundledCount = 10;
    /** @type {File | null} */
    this.file = null;
    /** @type {ColumnMapping | null} the columns of a file with other headers */
    this.mapping = null;
    /** @type {{ sent: number, total: number } | null} */
    this.progress = null;
    /** @type {unknown} */
    this.error = null;
    this.isDragOver = false;
    /** @type {Set<import("../client/index.js").Mask>} personal data to mask */
    this.masks = new Set();
    /** Names to mask, one on each line. */
    this.maskNames = "";
    /** @type {import("../client/index.js").Dataset[]} */
    this.datasets = [];
    this.uploadController = new AbortController();
    signal.addEventListener("abort", () => this.uploadController.abort());
    void app.attempt(async () => {
      this.datasets = await app.api.datasets.list({ limit: 100 });
      app.refresh();
    }, signal);
  }

  get isReady() {
    return this.isBundled || this.dataset !== null;
  }

  /** The part of the job's params that names the data. */
  params() {
    return this.isBundled ? { total_items: this.bundledCount } : { dataset_id: this.dataset?.id };
  }

  /** @param {import("../client/index.js").Dataset} dataset */
  choose(dataset) {
    this.dataset = dataset;
    this.isBundled = false;
    this.error = null;
    this.onChange();
  }

  /** @param {number} count of conversations */
  takeBundled(count) {
    this.isBundled = true;
    this.bundledCount = count;
    this.onChange();
  }

  reset() {
    this.uploadController.abort();
    this.dataset = null;
    this.isBundled = false;
    this.file = null;
    this.mapping = null;
    this.progress = null;
    this.error = null;
    this.onChange();
  }

  /**
   * Upload a file. If its columns are not the expected ones, ask for a mapping first.
   * @param {File} file
   */
  async open(file) {
    this.reset();
    this.file = file;
    this.onChange();
    try {
      const isCut = file.size > HEAD_BYTES && !IS_READ_WHOLE.test(file.name);
      const head = isCut ? file.slice(0, HEAD_BYTES) : file;
      const preview = await this.app.api.runs.preview(
        {},
        { file: head, fileName: file.name, head: isCut },
      );
      if (this.file !== file || this.signal.aborted) return; // another file was chosen meanwhile
      const isExpected = Object.entries(preview.mapping).every(
        ([column, header]) => column === header,
      );
      const isClear =
        isExpected && !preview.missing_columns.length && !preview.is_date_order_needed;
      if (preview.columns.length && !isClear) {
        this.mapping = new ColumnMapping(preview, () => this.app.refresh());
        this.onChange();
        return;
      }
      await this.upload(file);
    } catch (error) {
      if (this.file === file) this.fail(error);
    }
  }

  /** @param {File} file @param {ColumnMapping | null} [mapping] */
  async upload(file, mapping) {
    this.uploadController = new AbortController();
    this.error = null;
    this.progress = { sent: 0, total: file.size };
    this.onChange();
    try {
      const dataset = await this.app.api.datasets.upload(file, {
        name: file.name,
        ...(mapping ? { mapping: mapping.chosen, dateOrder: mapping.dateOrder } : {}),
        ...(this.masks.size ? { mask: [...this.masks] } : {}),
        ...(this.maskNames.trim() ? { maskNames: this.maskNames.split("\n") } : {}),
        signal: this.uploadController.signal,
        onProgress: (sent, total) => {
          this.progress = { sent, total };
          this.app.refresh();
        },
      });
      if (this.signal.aborted || this.file !== file) return;
      this.progress = null;
      this.mapping = null;
      this.choose(dataset);
    } catch (error) {
      if (this.file === file) this.fail(error);
    }
  }

  /** @param {unknown} error */
  fail(error) {
    this.progress = null;
    if (isAborted(error)) return;
    this.error = this.app.reportError(error);
    this.onChange();
  }

  render() {
    if (this.isReady) return this.chosenData();
    return html`${this.error ? this.rejection() : nothing}
    ${
      this.progress
        ? this.uploadProgress()
        : this.mapping && this.file
          ? this.columnChoice()
          : this.dataChoice()
    }`;
  }

  dataChoice() {
    return html`<div class="grid">
      <div
        class="drop ${this.isDragOver ? "over" : ""}"
        @dragover=${(/** @type {DragEvent} */ event) => this.onDrag(event, true)}
        @dragleave=${(/** @type {DragEvent} */ event) => this.onDrag(event, false)}
        @drop=${(/** @type {DragEvent} */ event) => this.onDrop(event)}
      >
        <strong>Drop a file of conversations here</strong>
        <p class="hint">
          CSV, Excel or Parquet: a row for each question and its answer, or for each message. JSON:
          chat messages, or the logs and exports of most tools.
        </p>
        <label class="button primary"
          ><input
            id="file"
            class="visually-hidden"
            type="file"
            accept=".csv,.tsv,.jsonl,.ndjson,.json,.xlsx,.xlsm,.parquet,.pq,.gz,.zst,text/csv,application/json"
            @change=${(/** @type {Event} */ event) => this.onFileInput(event)}
          />Choose a file</label
        >
        <fieldset class="row">
          <legend class="hint">Mask before it is stored</legend>
          ${MASKS.map(
            (mask) =>
              html`<label
                ><input
                  type="checkbox"
                  name="mask"
                  value=${mask}
                  ?checked=${this.masks.has(mask)}
                  @change=${() => {
                    if (!this.masks.delete(mask)) this.masks.add(mask);
                  }}
                />
                ${mask}</label
              >`,
          )}
        </fieldset>
        <label class="field"
          ><span class="hint">Names to mask, one on each line</span
          ><textarea
            id="mask-names"
            rows="2"
            .value=${this.maskNames}
            @input=${(/** @type {Event} */ event) => {
              this.maskNames = /** @type {HTMLTextAreaElement} */ (event.target).value;
            }}
          ></textarea>
        </label>
      </div>
      <div class="card stack-tight">
        <h2>Or use existing data</h2>
        ${
          this.datasets.length
            ? html`<label class="field"
                ><span>A stored dataset</span>
                <select
                  id="stored"
                  @change=${(/** @type {Event} */ event) => this.onDatasetInput(event)}
                >
                  <option value="">Choose …</option>
                  ${this.datasets.map(
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
              max=${BUNDLED_COUNT}
              value=${this.bundledCount}
              @input=${(/** @type {Event} */ event) => {
                this.bundledCount = Math.min(
                  BUNDLED_COUNT,
                  Math.max(
                    1,
                    Math.round(Number(/** @type {HTMLInputElement} */ (event.target).value)),
                  ),
                );
              }}
              @change=${(/** @type {Event} */ event) => {
                /** @type {HTMLInputElement} */ (event.target).value = String(this.bundledCount);
              }}
          /></label>
        </div>
        <button type="button" @click=${() => this.takeBundled(this.bundledCount)}>
          Take the bundled ones
        </button>
      </div>
    </div>`;
  }

  /** @param {DragEvent} event @param {boolean} isDragOver */
  onDrag(event, isDragOver) {
    event.preventDefault();
    if (this.isDragOver === isDragOver) return;
    this.isDragOver = isDragOver;
    this.app.refresh();
  }

  /** @param {DragEvent} event */
  onDrop(event) {
    this.onDrag(event, false);
    const file = event.dataTransfer?.files[0];
    if (file) void this.open(file);
  }

  /** @param {Event} event */
  onFileInput(event) {
    const input = /** @type {HTMLInputElement} */ (event.target);
    const file = input.files?.[0];
    input.value = ""; // so that choosing the same file again, once corrected, is a change
    if (file) void this.open(file);
  }

  /** @param {Event} event */
  onDatasetInput(event) {
    const dataset = this.datasets.find(
      ({ id }) => id === /** @type {HTMLSelectElement} */ (event.target).value,
    );
    if (dataset) this.choose(dataset);
  }

  uploadProgress() {
    const { sent, total } = /** @type {{ sent: number, total: number }} */ (this.progress);
    return html`<div class="card stack-tight">
      <h2>${this.file?.name}</h2>
      ${progress({ current: sent, total, status: "running", name: "Upload" })}
      <div class="row-wide">
        <p class="hint">
          ${sent < total ? `${format.bytes(sent)} of ${format.bytes(total)} sent` : nothing}<span
            role="status"
            >${sent < total ? nothing : "Checking every row …"}</span
          >
        </p>
        <button type="button" @click=${() => this.reset()}>Stop</button>
      </div>
    </div>`;
  }

  columnChoice() {
    const file = /** @type {File} */ (this.file);
    return html`<div class="card stack-tight">
      <h2>Which column of ${file.name} is which?</h2>
      ${this.mapping?.render()}
      <div class="row">
        <button
          type="button"
          class="primary"
          ?disabled=${!this.mapping?.isComplete}
          @click=${() => this.upload(file, this.mapping)}
        >
          Go on
        </button>
        <button type="button" @click=${() => this.reset()}>Another file</button>
      </div>
    </div>`;
  }

  /** Why the file was rejected: a table of its bad rows, or the text of the error. */
  rejection() {
    const rows = problemsOf(this.error).filter(({ type }) => type === "bad_row");
    if (!rows.length) {
      const title = `${this.file?.name ?? "This file"} can't be used`;
      return banner("failed", title, errorText(this.error));
    }
    const rest = problemsOf(this.error).filter(({ type }) => type !== "bad_row");
    return html`${banner(
        "failed",
        `${this.file?.name}: ${format.plural(rows.length, "error")}, nothing was stored`,
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

  chosenData() {
    const dataset = this.dataset;
    if (!dataset) {
      return html`<div class="card row-wide">
        <h2>Bundled conversations</h2>
        <button type="button" @click=${() => this.reset()}>Choose other data</button>
      </div>`;
    }
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
              .slice(0, MAX_INTENTS)
              .map(
                ([intent, n]) =>
                  html`<span class="badge tone-none">${intent} ${format.count(n)}</span>`,
              )}${
              intents.length > MAX_INTENTS
                ? html`<span class="quiet small">and ${intents.length - MAX_INTENTS} more</span>`
                : nothing
            }${intents.length ? nothing : "not on record"}</span
          >
        </dd>
        <dt>With photos</dt>
        <dd>${format.count(dataset.messages_with_images)}</dd>
        <dt>With errors</dt>
        <dd>${format.count(dataset.messages_with_errors)}</dd>
        <dt>Bad rows</dt>
        <dd>none</dd>
      </dl>
      ${
        dataset.notices.length
          ? html`<ul id="notices" role="list" class="stack-tight small">
              ${dataset.notices.map(
                ({ message, row }) =>
                  html`<li>${message}${row === null ? nothing : ` (first in row ${row})`}</li>`,
              )}
            </ul>`
          : nothing
      }
    </section>`;
  }
}
