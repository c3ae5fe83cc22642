// What the cards of several evaluators share: quotes, corrections, yes or no.

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
