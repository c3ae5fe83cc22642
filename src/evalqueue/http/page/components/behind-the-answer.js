// What stood behind a bot's answer, folded: its instructions, the context, and the tools it called;
// and the reference answer.

import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../client/index.js").Turn} Turn */

/** @param {Turn} turn */
export function behindTheAnswer({ system, context, tool_calls: calls, expected }) {
  if (system == null && context == null && !calls.length && expected == null) return nothing;
  return html`<div class="behind small">
    ${system == null ? nothing : folded("Instructions (system prompt)", system)}
    ${context == null ? nothing : folded("Context", context)}
    ${calls.length ? toolCalls(calls) : nothing}
    ${expected == null ? nothing : folded("Expected answer", expected)}
  </div>`;
}

/** @param {string} title @param {string} text */
function folded(title, text) {
  return html`<details>
    <summary>${title}</summary>
    <pre class="kv" tabindex="0">${text}</pre>
  </details>`;
}

/** @param {Turn["tool_calls"]} calls */
function toolCalls(calls) {
  const names = calls.map((each) => each.name).join(", ");
  return html`<details>
    <summary>${format.plural(calls.length, "tool call")}: ${names}</summary>
    <ol class="stack-tight">
      ${calls.map(
        ({ name, arguments: given, result }) =>
          html`<li>
            <strong>${name}</strong>
            <pre class="kv" tabindex="0" aria-label=${`Arguments of ${name}`}>
${format.indented(given)}</pre>
            ${
              result == null
                ? html`<span class="quiet">Its result was not recorded.</span>`
                : html`<pre class="kv" tabindex="0" aria-label=${`Result of ${name}`}>
${format.indented(result)}</pre>`
            }
          </li>`,
      )}
    </ol>
  </details>`;
}
