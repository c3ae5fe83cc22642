// What was said, as it was said: text only, never markup of its own. Quotes that judges point at are
// marked where they stand, and pipe tables are shown as tables.

import { html, nothing } from "./vendor/lit-html/lit-html.js";

/** @typedef {{ start: number, end: number, active: boolean }} Range */

const ENDS_OF_A_QUOTE = /^[\s"'“”‘’….*`]+|[\s"'“”‘’….*`]+$/g;
const SEPARATOR = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

/**
 * @param {string} text
 * @param {{ quote: string, active?: boolean }[]} quotes
 */
export function spoken(text, quotes = []) {
  const ranges = found(text, quotes);
  return blocks(text).map((block) =>
    block.rows
      ? table(text, block.rows, ranges)
      : html`<div class="text">${pieces(text, ...trimmed(text, block), ranges)}</div>`,
  );
}

/** Without the empty lines around a table. @param {string} text @param {Block} block @returns {[number, number]} */
function trimmed(text, { start, end }) {
  while (start < end && text[start] === "\n") start += 1;
  while (end > start && text[end - 1] === "\n") end -= 1;
  return [start, end];
}

/**
 * Where quotes stand: case and white space don't matter, as when they were checked.
 * @param {string} text @param {{ quote: string, active?: boolean }[]} quotes @returns {Range[]}
 */
export function found(text, quotes) {
  const { plain, places } = plainly(text);
  /** @type {Range[]} */
  const ranges = [];
  for (const { quote, active = false } of quotes) {
    const wanted = plainly(quote).plain.replace(ENDS_OF_A_QUOTE, "");
    const at = wanted ? plain.indexOf(wanted) : -1;
    if (at >= 0) {
      ranges.push({
        start: places[at] ?? 0,
        end: (places[at + wanted.length - 1] ?? 0) + 1,
        active,
      });
    }
  }
  return ranges.sort((a, b) => a.start - b.start);
}

/** Lower case, each run of white space one space; and where each character was. @param {string} text */
function plainly(text) {
  let plain = "";
  /** @type {number[]} */
  const places = [];
  let afterSpace = false;
  for (let i = 0; i < text.length; i += 1) {
    const character = text[i] ?? "";
    const isSpace = /\s/.test(character);
    if (isSpace && afterSpace) continue;
    afterSpace = isSpace;
    const lower = isSpace ? " " : character.toLowerCase();
    for (const each of lower) {
      plain += each;
      places.push(i);
    }
  }
  return { plain, places };
}

/**
 * A stretch of text, cut where marks begin and end.
 * @param {string} text @param {number} start @param {number} end @param {Range[]} ranges
 */
function pieces(text, start, end, ranges) {
  const shown = [];
  let at = start;
  for (const range of ranges) {
    const [from, to] = [Math.max(at, range.start), Math.min(end, range.end)];
    if (from >= to) continue;
    shown.push(
      emphasised(text.slice(at, from)),
      html`<mark class=${range.active ? "active" : ""}>${emphasised(text.slice(from, to))}</mark>`,
    );
    at = to;
  }
  shown.push(emphasised(text.slice(at, end)));
  return shown;
}

/** What the bot wrote in bold, in bold: the only markup besides tables that is understood. @param {string} text */
function emphasised(text) {
  return text
    .split(/\*\*([^*\n]+)\*\*/)
    .map((each, i) => (i % 2 ? html`<strong>${each}</strong>` : each));
}

/**
 * @typedef {{ start: number, end: number }} Cell
 * @typedef {{ start: number, end: number, rows: Cell[][] | null }} Block
 */

/** Text and tables, in turn. @param {string} text @returns {Block[]} */
function blocks(text) {
  const lines = linesOf(text);
  /** @type {Block[]} */
  const made = [];
  let plainFrom = 0;
  let i = 0;
  while (i < lines.length) {
    const [head, under] = [lines[i], lines[i + 1]];
    if (
      head &&
      under &&
      isRow(text, head) &&
      SEPARATOR.test(text.slice(under.start, under.end)) &&
      isRow(text, under)
    ) {
      let last = i + 1;
      while (last + 1 < lines.length && isRow(text, lines[last + 1])) last += 1;
      if (head.start > plainFrom) made.push({ start: plainFrom, end: head.start - 1, rows: null });
      const rows = [head, ...lines.slice(i + 2, last + 1)].map((line) => cells(text, line));
      made.push({ start: head.start, end: lines[last]?.end ?? head.end, rows });
      plainFrom = (lines[last]?.end ?? head.end) + 1;
      i = last + 1;
    } else {
      i += 1;
    }
  }
  if (plainFrom < text.length || !made.length)
    made.push({ start: plainFrom, end: text.length, rows: null });
  return made;
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
  const found = [];
  let from = start;
  for (let i = start; i <= end; i += 1) {
    if (i === end || (text[i] === "|" && text[i - 1] !== "\\")) {
      found.push({ start: from, end: i });
      from = i + 1;
    }
  }
  const isBlank = (/** @type {Cell | undefined} */ cell) =>
    cell !== undefined && !text.slice(cell.start, cell.end).trim();
  if (found.length > 1 && isBlank(found[0])) found.shift();
  if (found.length > 1 && isBlank(found.at(-1))) found.pop();
  return found;
}

/** @param {string} text @param {Cell[][]} rows @param {Range[]} ranges */
function table(text, [head = [], ...rows], ranges) {
  const cell = (/** @type {Cell} */ { start, end }) => pieces(text, start, end, ranges);
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

/** @param {{ who: "user" | "bot", name: string, text: string, quotes?: { quote: string, active?: boolean }[], note?: unknown }} what */
export function bubble({ who, name, text, quotes = [], note = nothing }) {
  return html`<div class="bubble ${who}">
    <span class="who">${name}</span>
    ${text ? spoken(text, quotes) : html`<span class="quiet">(said nothing)</span>`}${note}
  </div>`;
}
