// What each evaluator found, in words and figures; what a program computed stands beside the judge.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import * as format from "./format.js";
import { badge } from "./parts.js";
import { ruleList } from "./rules.js";
import { said } from "./verdicts.js";

/**
 * @typedef {Record<string, any>} Found  what an evaluator found, as its JSON has it
 * @typedef {(quote: string) => void} Point
 */

/** Quotes that lead to where they stand; one that can't be found says so. @param {Found[] | null | undefined} quotes @param {Point} point */
export function evidence(quotes, point) {
  const told = (quotes ?? []).filter((each) => each.quote);
  if (!told.length) return nothing;
  return html`<ul role="list" class="stack-tight small">
    ${told.map(
      (each) =>
        html`<li>
          ${
            each.in_transcript
              ? html`<button type="button" class="link" @click=${() => point(each.quote)}>
                  “${each.quote}”
                </button>`
              : html`“${each.quote}”
                  <span class="badge tone-warn" title="The judge quotes what nobody said"
                    >not in the conversation</span
                  >`
          }
        </li>`,
    )}
  </ul>`;
}

/** @param {Found | undefined} found @param {Point} point */
export function intentCard(found, point) {
  if (!found) return nothing;
  const verdict =
    found.is_correct_intent == null ? null : found.is_correct_intent ? "PASS" : "HARD FAIL";
  return html`<details>
    <summary>
      Intent
      ${badgeOf(verdict, { "PASS": "right", "HARD FAIL": "wrong" }, "nothing to compare with")}
      <span class="small quiet"
        >${
          found.expected_intent == null || found.is_correct_intent
            ? found.predicted_intent
            : `routed to ${found.expected_intent}, judged ${found.predicted_intent}`
        }
        · ${format.percent(found.confidence)} sure</span
      >
    </summary>
    <div class="stack-tight">
      <p class="small">${found.reasoning}</p>
      ${evidence(found.evidence, point)}
      ${
        found.is_correct_query_type == null
          ? nothing
          : html`<p class="small quiet">
              query type:
              ${found.predicted_query_type}${
                found.is_correct_query_type ? "" : `, recorded as ${found.expected_query_type}`
              }
            </p>`
      }
    </div>
  </details>`;
}

/** @param {string | null} verdict @param {Record<string, string>} words @param {string} absent */
function badgeOf(verdict, words, absent) {
  const tone = { "PASS": "good", "HARD FAIL": "bad" }[verdict ?? ""] ?? "none";
  return html`<span class="badge tone-${tone}">${verdict == null ? absent : words[verdict]}</span>`;
}

/** @param {Found | undefined} found @param {Point} point */
export function correctnessCard(found, point) {
  if (!found) return nothing;
  if (!found.judged)
    return html`<p class="small quiet">Correctness: not applicable. ${found.reasoning}</p>`;
  const isFine = found.verdict === "PASS" || found.verdict === "NOT APPLICABLE";
  return html`<details ?open=${!isFine}>
    <summary>
      Correctness
      ${badge(found.verdict)}${
        found.computed?.disagrees_with_judge
          ? html` <span class="badge tone-warn">the sums say otherwise</span>`
          : nothing
      }
    </summary>
    <div class="stack-tight">
      ${
        found.override
          ? html`<p class="small">
              <span class="badge tone-fair">corrected</span> The judge said
              ${said(found.judge_verdict)}. ${found.override}
            </p>`
          : nothing
      }
      <p class="small">${found.reasoning}</p>
      ${evidence(found.evidence, point)} ${arithmetic(found)} ${ruleList(found.rule_compliance)}
    </div>
  </details>`;
}

/** What the judge says of the figures, beside what a program computed from them. @param {Found} found */
function arithmetic({
  arithmetic_consistency: judged,
  calorie_sanity: sanity,
  quantity_coherence: quantities,
  computed,
}) {
  const meals = /** @type {Found[]} */ (computed?.meals ?? []);
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

/** @param {boolean | null | undefined} value */
function yesNo(value) {
  return value == null
    ? format.NOTHING
    : html`<span class="badge tone-${value ? "good" : "bad"}">${value ? "yes" : "no"}</span>`;
}

/** @param {Found} result @param {Point} point */
export function efficiencyCard(result, point) {
  const found = /** @type {Found | null} */ (result.efficiency_evaluation);
  if (!found) return nothing;
  const counted = /** @type {Found | undefined} */ (found.counted);
  return html`<section class="card stack-tight">
    <h2>Efficiency ${badge(found.verdict)}</h2>
    ${
      found.override
        ? html`<p class="small">
            <span class="badge tone-fair">corrected</span> The judge said
            ${said(found.judge_verdict)}. ${found.override}
          </p>`
        : nothing
    }
    <p class="small">${found.reasoning}</p>
    ${evidence(found.evidence, point)}
    <dl class="facts small">
      <dt>Task completed</dt>
      <dd>${yesNo(found.task_completed)}</dd>
      ${
        found.recovery_quality
          ? html`<dt>Recovery</dt>
              <dd>${said(found.recovery_quality)}</dd>`
          : nothing
      }
      ${
        found.thread_type
          ? html`<dt>Kind</dt>
              <dd>${said(found.thread_type)}</dd>`
          : nothing
      }
      ${
        found.failure_reason
          ? html`<dt>Why it failed</dt>
              <dd>${found.failure_reason}</dd>`
          : nothing
      }
      ${
        found.incomplete_reason
          ? html`<dt>Why it is incomplete</dt>
              <dd>${said(found.incomplete_reason)}</dd>`
          : nothing
      }
      ${
        counted
          ? html`<dt>Turns</dt>
              <dd>${counted.turns}, ${counted.ideal_turns} would be ideal</dd>`
          : nothing
      }
      ${
        counted?.repeated_bot_questions?.length
          ? html`<dt>Asked again</dt>
              <dd>
                ${counted.repeated_bot_questions
                  .map((/** @type {Found} */ each) => `turn ${each.turn}: ${each.question}`)
                  .join("; ")}
              </dd>`
          : nothing
      }
    </dl>
    ${(found.contradictions ?? []).map(
      (/** @type {string} */ each) =>
        html`<p class="small"><span class="badge tone-warn">contradiction</span> ${each}</p>`,
    )}
    ${ruleList(found.rule_compliance)}
  </section>`;
}
