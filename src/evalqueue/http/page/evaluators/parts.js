// What the cards of several evaluators share: distributions, quotes, corrections, yes or no.

import { distribution } from "../components/charts.js";
import { label } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/**
 * @typedef {Record<string, any>} Json the result of an evaluator
 * @typedef {(quote: string) => void} Highlight
 */

/**
 * The quotes of a judge. Each highlights its place in the conversation, unless it is not there.
 * @param {Json[] | null | undefined} evidence
 * @param {Highlight} highlight
 */
export function evidenceList(evidence, highlight) {
  const quotes = (evidence ?? []).filter((each) => each.quote);
  if (!quotes.length) return nothing;
  return html`<ul role="list" class="stack-tight small">
    ${quotes.map(
      (each) =>
        html`<li>
          ${
            each.in_transcript
              ? html`<button type="button" class="link" @click=${() => highlight(each.quote)}>
                  “${each.quote}”
                </button>`
              : html`“${each.quote}”
                  <span class="badge tone-warn" title="The conversation does not contain this quote"
                    >not in the conversation</span
                  >`
          }
        </li>`,
    )}
  </ul>`;
}

/**
 * What a program corrected in a judge's verdict, and why.
 * @param {Json} result
 */
export function overrideNote(result) {
  if (!result.override) return nothing;
  return html`<p class="small">
    <span class="badge tone-fair">corrected</span> The judge said ${label(result.judge_verdict)}.
    ${result.override}
  </p>`;
}

/** @param {boolean | null | undefined} value */
export function yesNo(value) {
  return value == null
    ? format.NOTHING
    : html`<span class="badge tone-${value ? "good" : "bad"}">${value ? "yes" : "no"}</span>`;
}

/**
 * How often each verdict was given.
 * @param {unknown} title
 * @param {import("../client/index.js").Share[]} shares
 * @param {number} conversations in all
 */
export function distributionCard(title, shares, conversations) {
  const measured = shares.reduce((sum, each) => sum + each.count, 0);
  return html`<section class="card">
    <h2>${title}</h2>
    ${distribution(shares, conversations - measured)}
  </section>`;
}

/**
 * One filter for each verdict.
 * @param {string[]} verdicts
 * @param {(row: import("./registry.js").Row) => string | null} verdictOf
 * @returns {import("./registry.js").Filter[]}
 */
export function verdictFilters(verdicts, verdictOf) {
  return verdicts.map((verdict) => ({
    key: verdict,
    text: label(verdict),
    matches: (row) => verdictOf(row) === verdict,
  }));
}
