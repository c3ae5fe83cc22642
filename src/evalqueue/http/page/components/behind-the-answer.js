// What stood behind a bot's answer, folded: its instructions, the context, and the tools it called;
// and what was expected of it.

import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../client/index.js").Turn} Turn */

/** @param {Turn} turn */
export function behindTheAnswer(turn) {
  const { system, context, tools, tool_calls: calls, expected } = turn;
  const { expected_tool_calls: wanted } = turn;
  const texts = [system, context, tools, expected, wanted];
  if (texts.every((each) => each == null) && !calls.length) return nothing;
  return html`<div class="behind small">
    ${system == null ? nothing : folded("Instructions (system prompt)", system)}
    ${tools == null ? nothing : folded("Tools that the bot could call", format.indented(tools))}
    ${context == null ? nothing : folded("Context", context)}
    ${calls.length ? toolCalls(calls) : nothing}
    ${expected == null ? nothing : folded("Expected answer", expected)}
    ${wanted == null ? nothing : expectedCalls(wanted)}
  </div>`;
}

/** @param {string} title @param {string} text */
function folded(title, text) {
  return html`<details>
    <summary>${title}</summary>
    <pre class="kv" tabindex="0">${text}</pre>
  </details>`;
}

/** @param {NonNullable<Turn["expected_tool_calls"]>} calls */
function expectedCalls(calls) {
  const names = calls.map((each) => each.name).join(", ") || "none";
  return html`<details>
    <summary>Expected ${format.plural(calls.length, "tool call")}: ${names}</summary>
    <ol class="stack-tight">
      ${calls.map(
        ({ name, arguments: given, arguments_schema: schema }) =>
          html`<li>
            <strong>${name}</strong>
            ${given == null && schema == null ? html`<span class="quiet">with any arguments</span>` : nothing}
            ${
              given == null
                ? nothing
                : html`<pre class="kv" tabindex="0" aria-label=${`Expected arguments of ${name}`}>
${format.indented(given)}</pre>`
            }
            ${
              schema == null
                ? nothing
                : html`<pre
                    class="kv"
                    tabindex="0"
                    aria-label=${`Schema of the arguments of ${name}`}
                  >
${format.indented(schema)}</pre>`
            }
          </li>`,
      )}
    </ol>
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
