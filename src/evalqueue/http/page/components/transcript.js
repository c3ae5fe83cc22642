// The messages of a conversation: plain text, in which bold and tables of Markdown are the only
// markup. Quotes of judges, and words that were searched for, are marked in the text.

import { guard } from "../vendor/lit-html/directives/guard.js";
import { keyed } from "../vendor/lit-html/directives/keyed.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { markedText, normalized, rangesOfWords } from "./marked.js";

/**
 * @typedef {{ quote: string, active?: boolean }} Quote `active`: it is highlighted
 * @typedef {import("./marked.js").Range} Range
 */

const QUOTE_PADDING = /^[\s"'“”‘’….*`]+|(?<![\s"'“”‘’….*`])[\s"'“”‘’….*`]+$/g;
const TABLE_SEPARATOR = /^\s*(?:\|\s*)?:?-+:?\s*(?:\|\s*:?-+:?\s*)*(?:\|\s*)?$/;

/** @param {string} text @param {Quote[]} quotes @param {string} words */
function message(text, quotes, words) {
  const ranges = [...rangesOf(text, quotes), ...rangesOfWords(text, words)];
  return blocks(text).map((block) =>
    block.rows
      ? table(text, block.rows, ranges)
      : html`<div class="text">${markedText(text, ...trimmed(text, block), ranges)}</div>`,
  );
}

/**
 * The range of a block, without empty lines at its start and end.
 * @param {string} text
 * @param {Block} block
 * @returns {[number, number]}
 */
function trimmed(text, { start, end }) {
  while (start < end && text[start] === "\n") start += 1;
  while (end > start && text[end - 1] === "\n") end -= 1;
  return [start, end];
}

/**
 * The ranges of quotes in a text. Case and white space are ignored, as in the server's check.
 * @param {string} text
 * @param {Quote[]} quotes
 * @returns {Range[]}
 */
function rangesOf(text, quotes) {
  const { plain, offsets } = normalized(text);
  /** @type {Range[]} */
  const ranges = [];
  for (const { quote, active = false } of quotes) {
    const wanted = normalized(quote).plain.replace(QUOTE_PADDING, "");
    const at = wanted ? plain.indexOf(wanted) : -1;
    if (at >= 0) {
      ranges.push({
        start: offsets[at] ?? 0,
        end: (offsets[at + wanted.length - 1] ?? 0) + 1,
        name: active ? "active" : "quote",
      });
    }
  }
  return ranges;
}

/**
 * @typedef {{ start: number, end: number }} Cell
 * @typedef {{ start: number, end: number, rows: Cell[][] | null }} Block
 */

/** The paragraphs and tables of a text, in order. @param {string} text @returns {Block[]} */
function blocks(text) {
  const lines = linesOf(text);
  /** @type {Block[]} */
  const result = [];
  let plainFrom = 0;
  let i = 0;
  while (i < lines.length) {
    const [head, under] = [lines[i], lines[i + 1]];
    if (
      head &&
      under &&
      isRow(text, head) &&
      TABLE_SEPARATOR.test(text.slice(under.start, under.end)) &&
      isRow(text, under)
    ) {
      let last = i + 1;
      while (last + 1 < lines.length && isRow(text, lines[last + 1])) last += 1;
      if (head.start > plainFrom) {
        result.push({ start: plainFrom, end: head.start - 1, rows: null });
      }
      const rows = [head, ...lines.slice(i + 2, last + 1)].map((line) => cells(text, line));
      result.push({ start: head.start, end: lines[last]?.end ?? head.end, rows });
      plainFrom = (lines[last]?.end ?? head.end) + 1;
      i = last + 1;
    } else {
      i += 1;
    }
  }
  if (plainFrom < text.length || !result.length) {
    result.push({ start: plainFrom, end: text.length, rows: null });
  }
  return result;
}

/** @param {string} text @returns {Cell[]} */
function linesOf(text) {
  const lines = [];
  let start = 0;
  while (start <= text.length) {
    const end = text.indexOf("\n", start);
    lines.push({ start, end: end < 0 ? text.length : end });
    if (end < 0) break;
    start = end + 1;
  }
  return lines;
}

/** @param {string} text @param {Cell | undefined} line */
function isRow(text, line) {
  return line !== undefined && text.slice(line.start, line.end).includes("|");
}

/** @param {string} text @param {Cell} line @returns {Cell[]} */
function cells(text, { start, end }) {
  const result = [];
  let from = start;
  for (let i = start; i <= end; i += 1) {
    if (i === end || (text[i] === "|" && text[i - 1] !== "\\")) {
      result.push({ start: from, end: i });
      from = i + 1;
    }
  }
  const isBlank = (/** @type {Cell | undefined} */ cell) =>
    cell !== undefined && !text.slice(cell.start, cell.end).trim();
  if (result.length > 1 && isBlank(result[0])) result.shift();
  if (result.length > 1 && isBlank(result.at(-1))) result.pop();
  return result;
}

/** @param {string} text @param {Cell[][]} rows @param {Range[]} ranges */
function table(text, [head = [], ...rows], ranges) {
  const cell = (/** @type {Cell} */ { start, end }) => markedText(text, start, end, ranges);
  return html`<div class="scroll" tabindex="0" role="group" aria-label="Table">
    <table>
      <thead>
        <tr>
          ${head.map((each) => html`<th scope="col">${cell(each)}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr>
              ${row.map((each) => html`<td>${cell(each)}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/**
 * One message.
 * @param {object} options
 * @param {"user" | "bot"} options.sender
 * @param {string} options.name
 * @param {string} options.text
 * @param {Quote[]} [options.quotes]
 * @param {string} [options.words] that were searched for
 * @param {unknown} [options.note] shown below the text
 */
export function bubble({ sender, name, text, quotes = [], words = "", note = nothing }) {
  return html`<div class="bubble ${sender}">
    <span class="who">${name}</span>
    ${text ? translatable(text, quotes, words) : html`<span class="quiet">(no text)</span>`}${note}
  </div>`;
}

/**
 * A message that a browser's translator may rewrite. It replaces text nodes, which can't be updated
 * from then on: the message is drawn anew when it changes, and only then.
 * @param {string} text @param {Quote[]} quotes @param {string} words
 */
function translatable(text, quotes, words) {
  const drawn = guard([text, JSON.stringify(quotes), words], () =>
    keyed({}, message(text, quotes, words)),
  );
  return html`<div translate="yes">${drawn}</div>`;
}

/**
 * The quotes to mark in a turn: those of the turn itself, and the highlighted one.
 * @param {Record<string, any>[]} evidence
 * @param {number} turn
 * @param {string | null} highlighted
 * @returns {Quote[]}
 */
export function quotesOfTurn(evidence, turn, highlighted) {
  return evidence
    .filter((each) => each.in_transcript && (each.turn === turn || each.quote === highlighted))
    .map(({ quote }) => ({ quote, active: quote === highlighted }));
}

/** Scroll to the highlighted quote, once it is drawn. */
export function scrollToHighlight() {
  scrollTo("mark.active", "smooth");
}

/** Scroll to the first words that were searched for, once they are drawn. */
export function scrollToWords() {
  scrollTo("mark.found", "instant");
}

/** @param {string} selector @param {ScrollBehavior} behavior */
function scrollTo(selector, behavior) {
  requestAnimationFrame(() =>
    requestAnimationFrame(() =>
      document.querySelector(selector)?.scrollIntoView({ block: "center", behavior }),
    ),
  );
}
