// Parts of a text that are marked: quotes of judges, and words that somebody has searched for.

import { html } from "../vendor/lit-html/lit-html.js";

/** @typedef {{ start: number, end: number, name: string }} Range `name`: the class of its marks */

const MOST = 1_000; // marks of words in one text
const LETTERS = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const BOLD = /\*\*([^*\n]+)\*\*/g;

/**
 * Where a text has these words, in any case. Letters are marked as a whole, with their accents.
 * @param {string} text @param {string} words
 * @returns {Range[]}
 */
export function rangesOfWords(text, words) {
  const wanted = normalized(words.trim()).plain;
  if (!wanted) return [];
  const { plain, offsets } = normalized(text);
  const letters = LETTERS.segment(text);
  /** @type {Range[]} */
  const ranges = [];
  let at = plain.indexOf(wanted);
  while (at >= 0 && ranges.length < MOST) {
    const first = letters.containing(offsets[at] ?? 0);
    const last = letters.containing(offsets[at + wanted.length - 1] ?? 0);
    if (first && last) {
      ranges.push({ start: first.index, end: last.index + last.segment.length, name: "found" });
    }
    at = plain.indexOf(wanted, at + wanted.length);
  }
  return ranges;
}

/**
 * The text in lower case, with each run of white space as one space and letters composed with their
 * accents (NFC); and the offset in the original of every character.
 * @param {string} text
 */
export function normalized(text) {
  let plain = "";
  /** @type {number[]} */
  const offsets = [];
  let afterSpace = false;
  for (const { index, character } of characters(text)) {
    const isSpace = /^\s+$/.test(character);
    if (isSpace && afterSpace) continue;
    afterSpace = isSpace;
    const lower = isSpace ? " " : character.toLowerCase();
    for (const each of lower) {
      plain += each;
      for (let i = 0; i < each.length; i += 1) offsets.push(index);
    }
  }
  return { plain, offsets };
}

/** The characters of a text, composed with their accents. @param {string} text */
function* characters(text) {
  if (text.normalize() === text) {
    for (let i = 0; i < text.length; i += 1) yield { index: i, character: text[i] ?? "" };
    return;
  }
  for (const { index, segment } of LETTERS.segment(text)) {
    yield { index, character: segment.normalize() };
  }
}

/**
 * A text without other markup, in which words are marked.
 * @param {string} text @param {string} words
 */
export function withWords(text, words) {
  return marked(0, text.length, rangesOfWords(text, words), (from, to) => text.slice(from, to));
}

/**
 * Part of a text with Markdown's bold, in which ranges are marked.
 * @param {string} text @param {number} start @param {number} end @param {Range[]} ranges
 */
export function markedText(text, start, end, ranges) {
  const bold = [...text.slice(start, end).matchAll(BOLD)].map(({ 0: { length }, index }) => ({
    start: start + index,
    end: start + index + length,
  }));
  return marked(start, end, ranges, (from, to) => withBold(text, from, to, bold));
}

/**
 * @param {number} start @param {number} end
 * @param {Range[]} ranges which may overlap
 * @param {(from: number, to: number) => unknown} content of a part that is marked throughout, or not
 */
function marked(start, end, ranges, content) {
  const inside = ranges.filter((each) => each.start < end && each.end > start);
  const ends = inside.flatMap((each) => [Math.max(each.start, start), Math.min(each.end, end)]);
  const cuts = [...new Set([start, ...ends, end])].sort((a, b) => a - b);
  return cuts.slice(1).map((to, i) => {
    const from = cuts[i] ?? start;
    const names = inside.filter((each) => each.start < to && each.end > from);
    return names.length
      ? html`<mark class=${[...new Set(names.map(({ name }) => name))].join(" ")}
          >${content(from, to)}</mark
        >`
      : content(from, to);
  });
}

/**
 * @param {string} text @param {number} from @param {number} to
 * @param {{ start: number, end: number }[]} bold with its asterisks, which are not shown
 */
function withBold(text, from, to, bold) {
  const result = [];
  let at = from;
  for (const part of bold) {
    if (part.end <= from || part.start >= to) continue;
    result.push(text.slice(at, Math.max(at, part.start)));
    const inner = text.slice(Math.max(at, part.start + 2), Math.min(to, part.end - 2));
    if (inner) result.push(html`<strong>${inner}</strong>`);
    at = Math.min(to, part.end);
  }
  result.push(text.slice(at, to));
  return result;
}
