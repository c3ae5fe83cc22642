// The text of an app's document, with the mistakes in it beside their lines.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

export const NOTATIONS = /** @type {const} */ (["toml", "yaml", "json"]);

/** @typedef {(typeof NOTATIONS)[number]} Notation */
/** @typedef {import("../data/errors.js").Problem} Problem */

/**
 * @param {object} options
 * @param {string} options.text
 * @param {Notation} options.notation
 * @param {Problem[]} options.problems with `ctx.line` where the line is known
 * @param {(text: string) => void} options.onInput
 */
export function appText({ text, notation, problems, onInput }) {
  const lines = text.split("\n").length;
  const wrong = new Set(problems.map(lineOf));
  return html`<div class="code-editor">
      <div class="gutter" aria-hidden="true">
        ${Array.from(
          { length: lines },
          (_, i) => html`<div class=${wrong.has(i + 1) ? "bad" : ""}>${i + 1}</div>`,
        )}
      </div>
      <textarea
        id="app-text"
        aria-label="The document as ${notation.toUpperCase()}"
        aria-describedby="app-problems"
        aria-invalid=${problems.length ? "true" : "false"}
        spellcheck="false"
        autocapitalize="off"
        wrap="off"
        rows="24"
        .value=${text}
        @input=${(/** @type {Event} */ event) =>
          onInput(/** @type {HTMLTextAreaElement} */ (event.target).value)}
        @scroll=${(/** @type {Event} */ event) => alignGutter(event)}
      ></textarea>
    </div>
    <div id="app-problems" role="status">
      <ul class="problems">
        ${problems.map((problem) => {
          const line = lineOf(problem);
          return html`<li class="wrong">
            ${
              line
                ? html`<button type="button" class="link" @click=${() => goTo(line)}>
                      Line ${line}</button
                    >: `
                : nothing
            }${pathOf(problem) ? html`<code>${pathOf(problem)}</code> ` : nothing}${problem.msg}
          </li>`;
        })}
      </ul>
    </div>`;
}

/** The path of a problem in the document. @param {Problem} problem */
export function pathOf({ loc }) {
  return loc.slice(2).join(".");
}

/** @param {Problem} problem @returns {number | null} */
function lineOf({ ctx }) {
  return typeof ctx?.line === "number" ? ctx.line : null;
}

/** @param {Event} event */
function alignGutter({ target }) {
  const area = /** @type {HTMLTextAreaElement} */ (target);
  const gutter = area.previousElementSibling;
  if (gutter) gutter.scrollTop = area.scrollTop;
}

/** Select a line. @param {number} line */
function goTo(line) {
  const area = /** @type {HTMLTextAreaElement | null} */ (document.getElementById("app-text"));
  if (!area) return;
  const before = area.value.split("\n").slice(0, line - 1);
  const start = before.reduce((sum, each) => sum + each.length + 1, 0);
  const end = area.value.indexOf("\n", start);
  area.focus();
  area.setSelectionRange(start, end < 0 ? area.value.length : end);
  area.scrollTop = (area.scrollHeight / area.value.split("\n").length) * Math.max(0, line - 5);
}
