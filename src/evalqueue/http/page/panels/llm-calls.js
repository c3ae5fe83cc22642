// The LLM calls of one conversation. Prompt and answer of a call are loaded when it is opened.

import * as format from "../format/values.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../client/index.js").ApiLog} ApiLog */

export class LlmCalls {
  /** @param {import("../app.js").App} app @param {string} runId @param {AbortSignal} signal */
  constructor(app, runId, signal) {
    this.app = app;
    this.runId = runId;
    this.signal = signal;
    /** @type {ApiLog[] | null} */
    this.calls = null;
    /** @type {Map<number, import("../client/index.js").ApiLogTexts>} */
    this.texts = new Map();
  }

  /** @param {string} threadId */
  async load(threadId) {
    const page = await this.app.attempt(
      () => this.app.api.runs.logs(this.runId, { thread_id: threadId, limit: 1000 }),
      this.signal,
    );
    if (!page || this.signal.aborted) return;
    this.calls = page.logs;
    this.app.refresh();
  }

  /** @param {ApiLog} call @param {Event} event */
  async onToggle(call, event) {
    if (!(/** @type {HTMLDetailsElement} */ (event.target).open) || this.texts.has(call.id)) return;
    const texts = await this.app.attempt(
      () => this.app.api.runs.log(this.runId, call.id),
      this.signal,
    );
    if (!texts) return;
    this.texts.set(call.id, texts);
    this.app.refresh();
  }

  render() {
    if (!this.calls) return nothing;
    const summary = [
      format.plural(this.calls.length, "call"),
      `${format.count(this.tokens("tokens_in"))} tokens in`,
      `${format.count(this.tokens("tokens_out"))} out; newest first`,
    ];
    return html`<p class="hint">${summary.join(", ")}</p>
      <ul role="list" class="stack-tight">
        ${repeat(
          this.calls,
          ({ id }) => id,
          (call) => this.row(call),
        )}
      </ul>`;
  }

  /**
   * The sum over all calls. Null if no provider reported it.
   * @param {"tokens_in" | "tokens_out"} key
   */
  tokens(key) {
    const reported = this.calls?.flatMap((call) => call[key] ?? []) ?? [];
    return reported.length ? reported.reduce((sum, each) => sum + each) : null;
  }

  /** @param {ApiLog} call */
  row(call) {
    const texts = this.texts.get(call.id);
    return html`<li>
      <details @toggle=${(/** @type {Event} */ event) => this.onToggle(call, event)}>
        <summary>
          <span class="badge tone-${["ok", "reused"].includes(call.outcome) ? "good" : "bad"}"
            >${call.outcome.replaceAll("_", " ")}</span
          >
          ${call.evaluator}${call.turn == null ? nothing : ` · turn ${call.turn}`}
          <span class="quiet small"
            >${format.milliseconds(call.duration_ms)} · ${format.count(call.tokens_in)} in,
            ${format.count(call.tokens_out)}
            out${call.try_number > 1 ? ` · try ${call.try_number}` : ""}</span
          >
        </summary>
        <div class="stack-tight">
          <p class="small quiet">
            ${call.provider}, ${call.model} · ${call.method} · ${format.moment(call.created_at)}
          </p>
          ${call.error ? html`<pre class="wrong">${call.error}</pre>` : nothing}
          ${
            texts
              ? html` ${
                    texts.system_prompt
                      ? html`<h3>System prompt</h3>
                          <pre class="kv" tabindex="0">${texts.system_prompt}</pre>`
                      : nothing
                  }
                  <h3>Prompt</h3>
                  <pre class="kv" tabindex="0">${texts.prompt}</pre>
                  ${
                    texts.parameters
                      ? html`<h3>Sent with it</h3>
                          <pre class="kv" tabindex="0">${format.pretty(texts.parameters)}</pre>`
                      : nothing
                  }
                  <h3>Answer</h3>
                  <pre class="kv" tabindex="0">
${texts.response == null ? format.NOTHING : format.indented(texts.response)}</pre>`
              : nothing
          }
        </div>
      </details>
    </li>`;
  }
}
