// A run compared with a baseline: each score in both, and the conversations that have changed.

import { badge, banner, empty } from "../components/basics.js";
import { errorText, problemsOf } from "../data/errors.js";
import { refresher } from "../data/refresher.js";
import { isOver, label } from "../format/labels.js";
import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const MIN_INTERVAL_MS = 2_000;
const PAUSE_FACTOR = 4; // the pause after a read is this many times its duration

/**
 * @typedef {import("../client/index.js").RunComparison} RunComparison
 * @typedef {RunComparison["candidate"]} ComparedRun
 * @typedef {import("../client/index.js").ScoreComparison} ScoreComparison
 * @typedef {RunComparison["flips"][number]} Flip
 */

/** @type {[Flip["direction"], string, string][]} */
const DIRECTIONS = [
  ["worse", "Changed for the worse", "The severest first."],
  ["better", "Changed for the better", "The largest change first."],
  [
    "other",
    "Other changes",
    "Still good, still not good, or not judged in one of the runs. Rates and p-values leave them out.",
  ],
];

/** What the rates of a score are. @type {Record<ScoreComparison["kind"], string>} */
const MEASURES = { number: "mean", boolean: "yes", category: "share of good" };

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function comparison(
  app,
  { params: { id = "", baseline_id: baselineId = "" }, signal },
) {
  /** @type {RunComparison | null} */
  let found = null;
  /** @type {unknown} */
  let loadError = null;

  const load = refresher(
    async () => {
      const started = performance.now();
      const loaded = await app.api.runs.comparison(id, baselineId);
      if (signal.aborted) return 0;
      found = loaded;
      loadError = null;
      app.refresh();
      return Math.max(MIN_INTERVAL_MS, PAUSE_FACTOR * (performance.now() - started));
    },
    {
      signal,
      minIntervalMs: MIN_INTERVAL_MS,
      onError: (error) => {
        loadError = app.reportError(error);
        app.refresh();
      },
    },
  );
  app.live.listen(signal, {
    job: (job) => {
      if (job.run_id === id || job.run_id === baselineId) load();
    },
    resync: load,
  });
  load();

  return {
    get title() {
      return found ? `${nameOf(found.candidate)}, compared` : "Comparison";
    },
    render() {
      return html`<div class="crumbs">
          <a href=${address("/runs")}>Runs</a
          ><a href=${address(`/runs/${id}`)}>${format.shortId(id)}</a
          ><span>Compared with ${format.shortId(baselineId)}</span>
        </div>
        <div class="page-head">
          <h1>
            ${found ? `${nameOf(found.candidate)}, compared with ${nameOf(found.baseline)}` : "Comparison"}
          </h1>
          <div class="row">
            <a class="button" href=${address(`/runs/${baselineId}/compare/${id}`)}>Swap</a>
          </div>
        </div>
        <div class="stack">${problem()}${found ? results(found) : nothing}</div>`;
    },
  };

  function problem() {
    if (!loadError) {
      return found ? nothing : html`<p class="quiet" role="status">Comparing…</p>`;
    }
    const [reason] = problemsOf(loadError);
    if (reason?.type === "not_comparable") {
      return empty(
        "Nothing to compare",
        `${reason.msg}.`,
        html`<a class="button" href=${address(`/runs/${id}`)}>Back to the run</a>`,
      );
    }
    const text = found ? "The comparison can't be refreshed" : "The comparison can't be shown";
    return banner("failed", text, errorText(loadError));
  }

  /** @param {RunComparison} of */
  function results({ candidate, baseline, conversations, notes, scores, flips, flip_totals }) {
    const compared = scores.filter(({ change }) => change !== "not_compared");
    const left = scores.filter(({ change }) => change === "not_compared");
    const titles = new Map(scores.map((each) => [`${each.evaluator}.${each.name}`, each.title]));
    const going = [candidate, baseline].filter(({ status }) => !isOver(status));
    return html`${
        going.length
          ? banner(
              "running",
              "Not final",
              `${going.map(nameOf).join(" and ")} ${going.length > 1 ? "have" : "has"} not ended: the figures are of what is there so far.`,
            )
          : nothing
      }
      <div class="grid wide">
        ${runCard("Baseline", baseline, conversations.baseline)}${runCard(
          "Candidate",
          candidate,
          conversations.candidate,
        )}
      </div>
      ${scoreTable(compared, conversations.both)} ${partly(notes, left)}
      ${DIRECTIONS.map(([direction, title, hint]) =>
        flipTable(
          title,
          hint,
          flips.filter((each) => each.direction === direction),
          flip_totals[direction],
          titles,
        ),
      )}`;
  }

  /** @param {string} role @param {ComparedRun} run @param {number} conversations */
  function runCard(role, run, conversations) {
    const versions = Object.entries(run.versions);
    return html`<section class="card stack-tight" aria-label=${role}>
      <div class="row-wide">
        <h2>${role}: <a href=${address(`/runs/${run.run_id}`)}>${nameOf(run)}</a></h2>
        ${badge(run.status)}
      </div>
      <dl class="facts">
        <dt>Judge</dt>
        <dd>${breakable(run.judge)}</dd>
        <dt>App</dt>
        <dd>${run.app_id ?? format.NOTHING}</dd>
        <dt>Created</dt>
        <dd>${format.moment(run.created_at)}</dd>
        <dt>Conversations</dt>
        <dd>${format.count(conversations)}</dd>
        ${
          versions.length
            ? html`<dt>Versions</dt>
                <dd>
                  ${versions.map(
                    ([evaluator, found]) =>
                      html`<div>
                        ${evaluator}
                        <code class="quiet">${found.map(shortVersion).join(", ")}</code>
                      </div>`,
                  )}
                </dd>`
            : nothing
        }
      </dl>
    </section>`;
  }

  /** @param {ScoreComparison[]} scores @param {number} both conversations of both runs */
  function scoreTable(scores, both) {
    if (!scores.length) {
      return html`<section class="card">
        ${empty("No score could be compared", "The reasons are below.")}
      </section>`;
    }
    return html`<section class="card flush">
      <div class="row-wide">
        <h2>
          Scores
          <span class="quiet small">of ${format.plural(both, "conversation")} in both runs</span>
        </h2>
      </div>
      <div class="scroll" tabindex="0" role="region" aria-label="Scores of both runs">
        <table class="table cards">
          <caption class="visually-hidden">
            Each score in the baseline and in the candidate
          </caption>
          <thead>
            <tr>
              <th scope="col">Score</th>
              <th scope="col" class="num">Baseline</th>
              <th scope="col" class="num">Candidate</th>
              <th scope="col" class="num">Difference, 95 % interval</th>
              <th scope="col">What it shows</th>
            </tr>
          </thead>
          <tbody>
            ${scores.map((score) => scoreRow(score, both))}
          </tbody>
        </table>
      </div>
      <p class="hint">
        Better or worse: the 95 % interval of the difference does not contain zero. p: the exact
        McNemar test of the conversations that changed.
      </p>
    </section>`;
  }

  /** @param {string[]} notes @param {ScoreComparison[]} left out */
  function partly(notes, left) {
    if (!notes.length && !left.length) return nothing;
    return html`<section class="card stack-tight">
      <h2>Not compared, or only partly</h2>
      <ul role="list" class="stack-tight">
        ${notes.map((note) => html`<li>${note}</li>`)}
        ${left.map(({ title, reason }) => html`<li>${title}: ${reason}.</li>`)}
      </ul>
    </section>`;
  }

  /**
   * @param {string} title @param {string} hint @param {Flip[]} flips those that are listed
   * @param {number} total @param {Map<string, string>} titles of the scores
   */
  function flipTable(title, hint, flips, total, titles) {
    if (!total) return nothing;
    return html`<section class="card flush">
      <div class="row-wide">
        <h2>
          ${title}
          <span class="quiet small"
            >${
              flips.length < total
                ? `${format.count(flips.length)} of ${format.count(total)}`
                : format.count(total)
            }</span
          >
        </h2>
        <p class="hint">${hint}</p>
      </div>
      <div class="scroll" tabindex="0" role="region" aria-label=${title}>
        <table class="table cards">
          <caption class="visually-hidden">
            ${title}: values that differ, each linked to its conversation
          </caption>
          <thead>
            <tr>
              <th scope="col">Conversation</th>
              <th scope="col">Score</th>
              <th scope="col">Baseline</th>
              <th scope="col">Candidate</th>
            </tr>
          </thead>
          <tbody>
            ${flips.map(
              (flip) =>
                html`<tr>
                  <td>${flip.thread_id}</td>
                  <td data-label="Score" class="small">
                    ${titles.get(`${flip.evaluator}.${flip.name}`)}
                  </td>
                  <td data-label="Baseline">
                    ${valueLink(flip.before, baselineId, flip.baseline_id, flip, "the baseline")}
                  </td>
                  <td data-label="Candidate">
                    ${valueLink(flip.after, id, flip.candidate_id, flip, "the candidate")}
                  </td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </section>`;
  }
}

/** A text that a line may be broken in, after a slash. @param {string} text */
function breakable(text) {
  return text.split(/(?<=\/)/).map((part) => html`${part}<wbr />`);
}

/** Without the name of its evaluator. @param {string} version */
function shortVersion(version) {
  return version.split("/").at(-1) ?? version;
}

/** @param {ComparedRun} run */
function nameOf({ name, run_id }) {
  return name || `run ${format.shortId(run_id)}`;
}

/**
 * @param {Flip["before"]} value @param {string} runId @param {number} evaluationId
 * @param {Flip} flip @param {string} where
 */
function valueLink(value, runId, evaluationId, { thread_id }, where) {
  return html`<a
    href=${address(`/runs/${runId}/threads/${evaluationId}`)}
    aria-label="${valueText(value)}: conversation ${thread_id} in ${where}"
    >${valueText(value)}</a
  >`;
}

/** @param {Flip["before"]} value */
function valueText(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? decimal(value) : label(value);
}

/** @param {ScoreComparison} score @param {number} both conversations of both runs */
function scoreRow(score, both) {
  const { title, kind, before, after, difference } = score;
  const pairs = difference?.pairs;
  const interval =
    difference && `${signed(score, difference.low)} to ${signed(score, difference.high)}`;
  return html`<tr>
    <td>
      ${title}
      <div class="small quiet">
        ${MEASURES[kind]}${
          pairs != null && pairs < both
            ? `, of the ${format.count(pairs)} with a value in both`
            : nothing
        }
      </div>
    </td>
    <td data-label="Baseline" class="num">${amount(score, before)}</td>
    <td data-label="Candidate" class="num">${amount(score, after)}</td>
    <td data-label="Difference, 95 % interval" class="num">
      ${difference ? signed(score, difference.difference) : format.NOTHING}
      ${difference ? html`<div class="small quiet">${interval}</div>` : nothing}
    </td>
    <td>${shown(score)}</td>
  </tr>`;
}

/** What a comparison shows, in words. @param {ScoreComparison} score */
function shown(score) {
  const { change, difference } = score;
  if (!difference) return html`<span class="quiet">One conversation gives no interval.</span>`;
  const { low, high, p_value, detectable } = difference;
  const chance = p_value == null ? "" : `; p ${probability(p_value)}`;
  if (change !== "unclear") {
    return html`<span class="badge tone-${change === "better" ? "good" : "bad"}">${change}</span>
      <div class="small quiet">${moved(score, difference.pairs)}${chance}</div>`;
  }
  if (low > 0 || high < 0) {
    return html`<span class="badge tone-fair">different</span>
      <div class="small quiet">Neither more nor less is better${chance}</div>`;
  }
  const visible = amount(score, detectable);
  return html`<span class="badge tone-none">no difference can be shown</span>
    <div class="small quiet">
      ${moved(score, difference.pairs)}${chance}${
        detectable ? `. A difference of ${visible} would be seen 4 times in 5` : ""
      }
    </div>`;
}

/** @param {ScoreComparison} score @param {number} pairs */
function moved({ improved, worsened }, pairs) {
  const all = format.plural(pairs, "conversation");
  return improved || worsened
    ? `${format.count(worsened)} of ${all} changed for the worse, ${format.count(improved)} for the better`
    : `none of ${all} became better or worse`;
}

/** @param {ScoreComparison} score @param {number | null} value */
function amount({ kind }, value) {
  return value == null
    ? format.NOTHING
    : kind === "number"
      ? decimal(value)
      : format.percent(value);
}

/** @param {ScoreComparison} score @param {number} value */
function signed(score, value) {
  const text = amount(score, Math.abs(value));
  return value > 0 ? `+${text}` : value < 0 ? `−${text}` : text;
}

/** @param {number} value */
function decimal(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

/** @param {number} value */
function probability(value) {
  return value < 0.001
    ? "< 0.001"
    : `= ${value.toLocaleString("en", { maximumSignificantDigits: 2 })}`;
}
