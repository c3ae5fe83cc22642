// LLM calls, with what was asked and answered when somebody wants to see it.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import * as format from "./format.js";

/** @typedef {import("./client/index.js").ApiLog} ApiLog */

/** The calls of one conversation. */
export class Calls {
  /** @param {import("./app.js").App} app @param {string} run @param {AbortSignal} signal */
  constructor(app, run, signal) {
    this.app = app;
    this.run = run;
    this.signal = signal;
    /** @type {ApiLog[] | null} */
    this.listed = null;
    /** @type {Map<number, import("./client/index.js").ApiLogTexts>} */
    this.texts = new Map();
  }

  /** @param {string} thread */
  async read(thread) {
    const found = await this.app.attempt(
      () => this.app.api.runs.logs(this.run, { thread_id: thread, limit: 1000 }),
      this.signal,
    );
    if (!found || this.signal.aborted) return;
    this.listed = found.logs;
    this.app.refresh();
  }

  /** @param {ApiLog} call @param {Event} event */
  async open(call, event) {
    if (!(/** @type {HTMLDetailsElement} */ (event.target).open) || this.texts.has(call.id)) return;
    const found = await this.app.attempt(
      () => this.app.api.runs.log(this.run, call.id),
      this.signal,
    );
    if (!found) return;
    this.texts.set(call.id, found);
    this.app.refresh();
  }

  render() {
    if (!this.listed) return nothing;
    const sum = (/** @type {"tokens_in" | "tokens_out"} */ key) => {
      const known = this.listed?.flatMap((call) => call[key] ?? []) ?? [];
      return known.length ? known.reduce((all, tokens) => all + tokens) : null; // not every endpoint counts them
    };
    return html`<p class="hint">
        ${`${format.plural(this.listed.length, "call")}, ${format.count(sum("tokens_in"))} tokens in, `}${`${format.count(sum("tokens_out"))} out; newest first`}
      </p>
      <ul role="list" class="stack-tight">
        ${repeat(
          this.listed,
          ({ id }) => id,
          (call) => this.one(call),
        )}
      </ul>`;
  }

  /** @param {ApiLog} call */
  one(call) {
    const texts = this.texts.get(call.id);
    return html`<li>
      <details @toggle=${(/** @type {Event} */ event) => this.open(call, event)}>
        <summary>
          <span class="badge tone-${call.outcome === "ok" ? "good" : "bad"}"
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
                  <h3>Answer</h3>
                  <pre class="kv" tabindex="0">
${texts.response == null ? format.NOTHING : indented(texts.response)}</pre>`
              : nothing
          }
        </div>
      </details>
    </li>`;
  }
}

/** JSON is easier to read with line breaks; what is none stays as it came. @param {string} text */
function indented(text) {
  try {
    return format.pretty(JSON.parse(text));
  } catch {
    return text;
  }
}
