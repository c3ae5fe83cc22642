// An evaluator as the page shows it: columns, filters, figures and cards, all from its declaration.

import { figure } from "../components/basics.js";
import { confusion, distribution } from "../components/charts.js";
import { ruleList } from "../components/rule-list.js";
import { failureTone, label } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { evidenceList, yesNo } from "./parts.js";

/**
 * @typedef {import("../client/index.js").EvaluatorDeclaration} Declaration
 * @typedef {import("../client/index.js").ScoreDeclaration} ScoreDeclaration
 * @typedef {import("../client/index.js").EvaluatorStatistics} EvaluatorStatistics
 * @typedef {import("../client/index.js").ScoreStatistics} ScoreStatistics
 * @typedef {import("../client/index.js").Score} Score
 * @typedef {import("../client/index.js").Outcome} Row
 * @typedef {import("./parts.js").Json} Json
 * @typedef {import("./parts.js").Highlight} Highlight
 *
 * @typedef {object} Filter
 * @property {string} key its `only` in the address
 * @property {string} text
 * @property {string} group filters of one group are alternatives; every group must match
 * @property {(row: Row) => boolean} matches
 *
 * @typedef {object} TrendPoint the main result of a run as a number
 * @property {number} value a mean, or the share of good values among those that were judged
 * @property {number} measured conversations
 * @property {string} version of the evaluator
 *
 * @typedef {object} Cards what an evaluator shows of a conversation instead of its plain scores
 * @property {(result: Json, turn: number, highlight: Highlight) => unknown} turnCard
 * @property {(result: Json, highlight: Highlight) => unknown} conversationCard
 *
 * @typedef {object} Evaluator
 * @property {string} key
 * @property {string} name
 * @property {boolean} callsLlm whether it may ask a judge
 * @property {string} column its `sort` in the address
 * @property {(row: Row) => number} rank to sort by, the worst first
 * @property {(row: Row) => number} severity 1: as bad as can be; 0: well, or not measured
 * @property {(row: Row) => unknown} cell of the table of conversations
 * @property {Filter[]} filters
 * @property {(summary: Json) => string | null} summaryText the main result, in the list of runs
 * @property {string} trendTitle what `trendPoint` measures
 * @property {(summary: Json) => TrendPoint | null} trendPoint of a run; null: nothing was measured,
 *   two versions have measured, or none of its values is better than another
 * @property {(value: number) => string} trendText
 * @property {(found: EvaluatorStatistics) => unknown} figures numbers for the head of the run
 * @property {(found: EvaluatorStatistics, conversations: number) => unknown} cards of the run
 * @property {(scores: Score[]) => unknown} headline of a conversation
 * @property {(result: Json, scores: Score[], turn: number, highlight: Highlight) => unknown} turnCard
 * @property {(result: Json, scores: Score[], highlight: Highlight) => unknown} conversationCard
 */

/**
 * @param {Declaration} declaration
 * @param {Cards} [cards]
 * @returns {Evaluator}
 */
export function declared(declaration, cards) {
  const { name: key, title: name } = declaration;
  const headline = /** @type {ScoreDeclaration} */ (
    declaration.scores.find((each) => each.name === declaration.headline)
  );
  const field = `${key}.${headline.name}`;
  const order = bySeverity(headline);
  /** @param {string} name */
  const scoreOf = (name) => declaration.scores.find((each) => each.name === name);
  return {
    key,
    name,
    callsLlm: declaration.calls_llm !== false, // runs of an older program do not say it
    column: field,
    rank: (row) => rank(headline, order, row.scores[field]),
    severity: (row) => severity(headline, order, row.scores[field]),
    cell: (row) => valueBadge(headline, row.scores[field]),
    filters: filters(key, headline, order),
    summaryText: (summary) => summaryText(key, name, headline, summary),
    trendTitle:
      headline.kind === "category"
        ? `${headline.title}: ${headline.good.map((each) => label(each)).join(" or ")}`
        : headline.title,
    trendPoint: (summary) => trendPoint(key, headline, summary),
    trendText: (value) =>
      headline.kind === "number" ? numberText(headline, value) : format.percent(value),
    figures: ({ scores }) => scores.map((score) => scoreFigure(score, scoreOf(score.name), scores)),
    cards: ({ scores }, conversations) =>
      scores.map((score) => scoreCard(key, score, scoreOf(score.name), conversations, scores)),
    headline: (scores) =>
      valueBadge(
        headline,
        scores.find((each) => each.evaluator === key && each.name === headline.name)?.value,
      ),
    turnCard: (result, scores, turn, highlight) =>
      cards
        ? cards.turnCard(result, turn, highlight)
        : [
            plainCard(
              declaration,
              scores.filter((each) => each.evaluator === key && each.turn === turn),
              highlight,
            ),
            rules(declaration, result, turn),
          ],
    conversationCard(result, scores, highlight) {
      if (cards) return cards.conversationCard(result, highlight);
      const own = scores.filter((each) => each.evaluator === key && each.turn == null);
      return own.length
        ? html`<section class="card stack-tight">
            <h2>${name}</h2>
            ${plainCard(declaration, own, highlight)} ${rules(declaration, result, null)}
          </section>`
        : nothing;
    },
  };
}

/** Labels, the worst first. @param {ScoreDeclaration} score */
function bySeverity({ labels, good, bad, neutral }) {
  const others = labels.filter((each) => ![...good, ...bad, ...neutral].includes(each));
  return [...bad, ...others, ...[...good].reverse(), ...neutral];
}

/**
 * A number to sort by: the worst first, what was not measured last.
 * @param {ScoreDeclaration} score @param {string[]} order @param {unknown} value
 */
function rank({ kind, higher_is_better: isHigherBetter }, order, value) {
  if (value == null) return Infinity;
  if (kind === "category") return order.indexOf(String(value));
  return isHigherBetter === false ? -Number(value) : Number(value);
}

/**
 * How bad a value is, from 0 to 1. What is not measured, and a number without bounds, is 0.
 * @param {ScoreDeclaration} score @param {string[]} order @param {unknown} value
 */
function severity(score, order, value) {
  const { kind, neutral, minimum, maximum, higher_is_better: isHigherBetter } = score;
  if (value == null || neutral.includes(String(value))) return 0;
  if (kind === "category") {
    const judged = order.filter((each) => !neutral.includes(each));
    const place = judged.indexOf(String(value));
    return place < 0 || !score.bad.length ? 0 : 1 - place / Math.max(1, judged.length - 1);
  }
  if (kind === "boolean") return Number(value !== (isHigherBetter !== false));
  if (minimum == null || maximum == null || minimum === maximum) return 0;
  const share = (Number(value) - minimum) / (maximum - minimum);
  return isHigherBetter === false ? share : 1 - share;
}

/** @param {ScoreDeclaration} score @param {string} word */
export function toneOf({ good, bad, neutral }, word) {
  if (bad.includes(word)) return bad.length > 1 && word === bad[0] ? "worst" : "bad";
  if (neutral.includes(word)) return "none";
  if (good.includes(word)) return word === good[0] ? "good" : "fair";
  return good.length || bad.length ? "warn" : "none";
}

/** @param {ScoreDeclaration} score @param {number} value */
function numberText({ minimum, maximum }, value) {
  return minimum === 0 && maximum === 1
    ? format.percent(value)
    : String(Number(value.toPrecision(4)));
}

/** @param {ScoreDeclaration} score @param {unknown} value */
function valueBadge(score, value) {
  if (value == null) return html`<span class="badge tone-none">${label(null)}</span>`;
  if (score.kind === "number") return html`<strong>${numberText(score, Number(value))}</strong>`;
  if (score.kind === "boolean") {
    return score.higher_is_better === false
      ? html`<span class="badge tone-${value ? "bad" : "good"}">${value ? "yes" : "no"}</span>`
      : yesNo(Boolean(value));
  }
  const word = String(value);
  return html`<span class="badge tone-${toneOf(score, word)}">${label(word)}</span>`;
}

/**
 * @param {string} evaluator @param {ScoreDeclaration} score @param {string[]} order
 * @returns {Filter[]}
 */
function filters(evaluator, score, order) {
  const field = `${evaluator}.${score.name}`;
  const { kind, neutral, maximum, minimum, higher_is_better: isHigherBetter } = score;
  if (kind === "category") {
    return order
      .filter((each) => !neutral.includes(each))
      .map((each) => ({
        key: `${evaluator}.${each}`,
        text: label(each),
        group: evaluator,
        matches: (row) => row.scores[field] === each,
      }));
  }
  const best = kind === "boolean" ? isHigherBetter !== false : isHigherBetter ? maximum : minimum;
  if (best == null) return [];
  return [
    {
      key: evaluator,
      group: evaluator,
      text: `${score.title.toLowerCase()} not ${
        typeof best === "boolean" ? (best ? "yes" : "no") : numberText(score, best)
      }`,
      matches: (row) => row.scores[field] != null && row.scores[field] !== best,
    },
  ];
}

/** @param {string} key @param {string} name @param {ScoreDeclaration} score @param {Json} summary */
function summaryText(key, name, score, summary) {
  const found = (summary.scores ?? []).filter((/** @type {Json} */ each) => each.evaluator === key);
  if (found.length !== 1) return null;
  const [{ mean, counts }] = found;
  if (mean != null) return `${name.toLowerCase()} ${numberText(score, mean)}`;
  const bad = score.bad.filter((each) => counts?.[each]);
  return bad.map((each) => `${format.count(counts[each])} ${label(each)}`).join(", ") || null;
}

/**
 * @param {string} key @param {ScoreDeclaration} score @param {Json} summary
 * @returns {TrendPoint | null}
 */
function trendPoint(key, score, summary) {
  const found = (summary.scores ?? []).filter((/** @type {Json} */ each) => each.evaluator === key);
  if (found.length !== 1) return null;
  const [{ mean, counts, measured, version }] = found;
  if (score.kind === "number") return mean == null ? null : { value: mean, measured, version };
  const isHigherBetter = score.higher_is_better;
  const good =
    score.kind === "category" ? score.good : isHigherBetter == null ? [] : [`${isHigherBetter}`];
  const judged = Object.entries(/** @type {Record<string, number>} */ (counts ?? {})).filter(
    ([each]) => !score.neutral.includes(each),
  );
  const sum = judged.reduce((total, [, times]) => total + times, 0);
  if (!good.length || !sum) return null;
  const sumOfGood = judged.reduce((n, [each, times]) => n + (good.includes(each) ? times : 0), 0);
  return { value: sumOfGood / sum, measured: sum, version };
}

/** @param {ScoreStatistics} score @param {ScoreStatistics[]} all */
function versionText({ name, version }, all) {
  return all.filter((each) => each.name === name).length > 1 ? ` (${version})` : "";
}

/** @param {number | null} low @param {number | null} high @param {(n: number) => string} text */
function intervalText(low, high, text) {
  return low == null || high == null ? "" : `${text(low)} to ${text(high)}`;
}

/**
 * One number for the head of the run: a mean, or the share of yes.
 * @param {ScoreStatistics} score @param {ScoreDeclaration | undefined} about
 * @param {ScoreStatistics[]} all
 */
function scoreFigure(score, about, all) {
  const title = score.title + versionText(score, all);
  if (score.kind === "boolean") {
    const yes = score.shares.find((each) => each.label === "true");
    return figure(
      title,
      format.percent(yes?.share),
      intervalText(yes?.low ?? null, yes?.high ?? null, format.percent),
    );
  }
  if (score.kind !== "number" || !about) return nothing;
  const { mean } = score;
  /** @param {number} value */
  const text = (value) => numberText(about, value);
  return figure(
    title,
    mean ? text(mean.mean) : format.NOTHING,
    mean ? intervalText(mean.low, mean.high, text) : "",
  );
}

/**
 * A card of the run: the shares of labels, or the labels that were taken for others.
 * @param {string} evaluator @param {ScoreStatistics} score
 * @param {ScoreDeclaration | undefined} about
 * @param {number} conversations @param {ScoreStatistics[]} all
 */
function scoreCard(evaluator, score, about, conversations, all) {
  if (score.kind !== "category" || !about) return nothing;
  const title = score.title + versionText(score, all);
  if (score.confusion) {
    return html`<section class="card">
      <h2>${title}</h2>
      ${confusion(
        title,
        score.confusion,
        (pair) => `?${new URLSearchParams({ evaluator, name: score.name, ...pair })}`,
      )}
    </section>`;
  }
  if (!score.shares.length || score.per_turn) return nothing;
  const shares = score.shares.map((each) => ({ ...each, tone: toneOf(about, each.label) }));
  return html`<section class="card">
    <h2>${title}</h2>
    ${distribution(shares, conversations - score.threads)}
  </section>`;
}

/**
 * The rules that a judge was asked about, of a turn or of the conversation.
 * @param {Declaration} declaration @param {Json} result @param {number | null} turn
 */
function rules({ details_key: key }, result, turn) {
  const rows = Array.isArray(result[key]) ? /** @type {Json[]} */ (result[key]) : [];
  return ruleList(rows.find((row) => (row.turn ?? null) === turn)?.rule_compliance);
}

/** @param {Declaration} declaration @param {Score[]} scores @param {Highlight} highlight */
function plainCard(declaration, scores, highlight) {
  return scores.map((score) => {
    const about = declaration.scores.find((each) => each.name === score.name);
    if (!about) return nothing;
    return html`<div class="stack-tight">
      <p class="small">
        ${about.title}
        ${score.failure ? html`<span class="badge tone-${failureTone(score.failure)}">${label(score.failure)}</span>` : valueBadge(about, score.value)}
        ${score.expected == null ? nothing : html`<span class="quiet">on record: ${score.expected}</span>`}
      </p>
      ${score.reasoning ? html`<p class="small">${score.reasoning}</p>` : nothing}
      ${evidenceList(score.evidence, highlight)}
    </div>`;
  });
}
