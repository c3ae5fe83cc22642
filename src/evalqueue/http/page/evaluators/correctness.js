// Correctness: whether the bot's answers are right, complete and consistent.

import { badge } from "../components/basics.js";
import { ruleList } from "../components/rule-list.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { evidenceList, overrideNote, yesNo } from "./parts.js";

/**
 * @typedef {import("./parts.js").Json} Json
 * @typedef {import("./parts.js").Highlight} Highlight
 */

/** @type {import("./declared.js").Cards} */
export const correctness = {
  turnCard: (result, turn, highlight) =>
    card(
      result.correctness_evaluations?.find((/** @type {Json} */ each) => each.turn === turn),
      highlight,
    ),
  conversationCard: () => nothing,
};

/** @param {Json | undefined} result @param {Highlight} highlight */
function card(result, highlight) {
  if (!result) return nothing;
  if (!result.judged) {
    return html`<p class="small quiet">Correctness: not applicable. ${result.reasoning}</p>`;
  }
  const isFine = result.verdict === "PASS" || result.verdict === "NOT APPLICABLE";
  return html`<details ?open=${!isFine}>
    <summary>
      Correctness
      ${badge(result.verdict)}${
        result.computed?.disagrees_with_judge
          ? html` <span class="badge tone-warn">the sums say otherwise</span>`
          : nothing
      }
    </summary>
    <div class="stack-tight">
      ${overrideNote(result)}
      <p class="small">${result.reasoning}</p>
      ${evidenceList(result.evidence, highlight)} ${references(result.references)}
      ${result.calorie_sanity ? arithmetic(result) : nothing} ${ruleList(result.rule_compliance)}
    </div>
  </details>`;
}

/**
 * What was found by comparing the answer with what is known.
 * @param {Json | undefined} found
 */
function references(found) {
  if (!found) return nothing;
  const sources = found.compared_with.map(spaced).join(", ");
  return html`<p class="small quiet">Compared with: ${sources || "common knowledge"}.</p>
    ${found.contradictions.map(
      (/** @type {Json} */ each) =>
        html`<p class="small wrong">${each.claim} (${spaced(each.source)}: ${each.correct})</p>`,
    )}
    ${found.unsupported.map(
      (/** @type {string} */ each) => html`<p class="small wrong">Unsupported: ${each}</p>`,
    )}
    ${found.missing.map(
      (/** @type {string} */ each) => html`<p class="small wrong">Missing: ${each}</p>`,
    )}`;
}

/** @param {string} name */
function spaced(name) {
  return name.replaceAll("_", " ");
}

/**
 * The judge's figures beside those that a program computed.
 * @param {Json} result
 */
function arithmetic({
  arithmetic_consistency: judged,
  calorie_sanity: sanity,
  quantity_coherence: quantities,
  computed,
}) {
  const meals = /** @type {Json[]} */ (computed?.meals ?? []);
  /** @type {(key: string) => unknown} */
  const figures = (key) =>
    meals.length ? meals.map((meal) => kcal(meal[key])).join(", ") : format.NOTHING;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Arithmetic">
      <table class="matrix">
        <caption class="visually-hidden">
          Arithmetic: the judge and the program
        </caption>
        <thead>
          <tr>
            <td></td>
            <th scope="col">the judge</th>
            <th scope="col">computed</th>
          </tr>
        </thead>
        <tbody>
          <tr>
            <th scope="row">stated total</th>
            <td>${kcal(judged?.stated_total_kcal)}</td>
            <td>${figures("stated_total_kcal")}</td>
          </tr>
          <tr>
            <th scope="row">sum of the items</th>
            <td>${kcal(judged?.items_sum_kcal)}</td>
            <td>${figures("items_sum_kcal")}</td>
          </tr>
          <tr>
            <th scope="row">energy of the macros</th>
            <td>${kcal(judged?.macro_calories_estimate)}</td>
            <td>${figures("macro_kcal")}</td>
          </tr>
          <tr>
            <th scope="row">the sums agree</th>
            <td>${yesNo(judged?.consistent)}</td>
            <td>${yesNo(computed?.consistent)}</td>
          </tr>
          <tr>
            <th scope="row">a plausible figure</th>
            <td>${yesNo(sanity?.plausible)}</td>
            <td>${computed ? yesNo(!computed.always_wrong) : format.NOTHING}</td>
          </tr>
          <tr>
            <th scope="row">quantities fit</th>
            <td>${yesNo(quantities?.coherent)}</td>
            <td>${format.NOTHING}</td>
          </tr>
        </tbody>
      </table>
    </div>
    ${(computed?.remarks ?? []).map(
      (/** @type {string} */ remark) => html`<p class="small wrong">${remark}</p>`,
    )}
    ${(quantities?.mismatches ?? []).map(
      (/** @type {string} */ mismatch) => html`<p class="small">${mismatch}</p>`,
    )}`;
}

/** @param {number | null | undefined} value */
function kcal(value) {
  return value == null ? format.NOTHING : `${format.count(value)} kcal`;
}
