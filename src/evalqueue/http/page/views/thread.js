// One conversation of a run: what was said, and what each judge made of it.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { Calls } from "../calls.js";
import { correctnessCard, efficiencyCard, intentCard } from "../findings.js";
import * as format from "../format.js";
import { badge, banner, errorText } from "../parts.js";
import { steady } from "../steady.js";
import { bubble } from "../transcript.js";

/**
 * @typedef {import("../client/index.js").Turn} Turn
 * @typedef {Record<string, any>} Found  what an evaluator found, as its JSON has it
 */

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, signal: AbortSignal }} place
 * @returns {import("../app.js").View}
 */
export default function thread(app, { params: { id: run = "", evaluation = "" }, signal }) {
  /** @type {import("../client/index.js").ThreadDetail | null} */
  let found = null;
  /** @type {unknown} */
  let broken = null;
  /** @type {string | null} the quote that is pointed at */
  let pointed = null;
  const calls = new Calls(app, run, signal);
  app.trail.opens(run, evaluation);

  const read = steady(
    async () => {
      found = await app.api.runs.thread(run, Number(evaluation));
      if (signal.aborted) return;
      broken = null;
      void calls.read(found.evaluation.thread_id);
      app.refresh();
    },
    {
      signal,
      restMs: 0,
      failed: (error) => {
        broken = app.noted(error);
        app.refresh();
      },
    },
  );
  read();

  /** What stands beside it: in the list it was opened from, or else in the run. */
  function around() {
    const list = app.trail.around(run, evaluation);
    const isWhole = list?.isWhole ?? true; // then more may have come since
    return {
      place: list ? ` ${format.count(list.at + 1)} of ${format.count(list.of)}` : "",
      previous: list?.previous ?? (isWhole ? found?.previous_id : null),
      next: list?.next ?? (isWhole ? found?.next_id : null),
    };
  }

  /** @param {string | number | null | undefined} id */
  function go(id) {
    if (id != null) app.go(`/runs/${run}/threads/${id}`);
  }

  /** @param {string} quote */
  function point(quote) {
    pointed = pointed === quote ? null : quote;
    app.refresh();
    requestAnimationFrame(() =>
      requestAnimationFrame(() =>
        document
          .querySelector("mark.active")
          ?.scrollIntoView({ block: "center", behavior: "smooth" }),
      ),
    );
  }

  return {
    get title() {
      return found ? `Conversation ${found.evaluation.thread_id}` : "Conversation";
    },
    keys: {
      j: () => go(around().next),
      k: () => go(around().previous),
      u: () => app.go(app.trail.up(run)),
    },
    render() {
      if (broken) return banner("failed", "This conversation can't be shown", errorText(broken));
      if (!found) return nothing;
      const { evaluation: row, turns } = found;
      const result = /** @type {Found} */ (row.result);
      const { place, previous, next } = around();
      return html`<div class="crumbs">
          <a href="/runs">Runs</a><a href=${app.trail.up(run)}>${format.shortId(run)}</a
          ><span>Conversation${place}</span>
        </div>
        <div class="page-head">
          <div>
            <h1>${row.thread_id}</h1>
            ${headline(result)}
          </div>
          <div class="row">
            <button type="button" ?disabled=${previous == null} @click=${() => go(previous)}>
              ← Previous <kbd>k</kbd>
            </button>
            <button type="button" ?disabled=${next == null} @click=${() => go(next)}>
              Next → <kbd>j</kbd>
            </button>
          </div>
        </div>
        <div class="stack">
          ${row.error ? banner("failed", "Nothing could be measured", row.error) : nothing}
          ${failures(result)}
          <div class="split">
            <section class="card" aria-label="Conversation">
              ${turns ? chat(turns, result) : gone()}
            </section>
            <aside class="stack" aria-label="Verdicts" tabindex="0">
              ${efficiencyCard(result, point)}
              <section class="card">
                <h2>LLM calls</h2>
                ${calls.render()}
              </section>
            </aside>
          </div>
        </div>`;
    },
  };

  /** @param {Found} result */
  function headline(result) {
    const row = /** @type {import("../client/index.js").ThreadDetail} */ (found).evaluation;
    return html`<div class="row">
      <span class="quiet small">intent</span>${
        row.intent_accuracy == null
          ? badge(null)
          : html`<strong>${format.percent(row.intent_accuracy)}</strong>`
      } <span class="quiet small">correctness</span>${badge(row.worst_correctness)}
      <span class="quiet small">efficiency</span>${badge(row.efficiency_verdict)}
      ${
        result.thread
          ? html`<span class="quiet small"
              >${format.plural(result.thread.message_count, "message")}, user
              ${result.thread.user_id}</span
            >`
          : nothing
      }
    </div>`;
  }

  /** @param {Found} result */
  function failures(result) {
    const list = /** @type {Found[]} */ (result.failures ?? []);
    if (!list.length) return nothing;
    return banner(
      "completed_with_errors",
      `${format.plural(list.length, "verdict")} could not be had`,
      list
        .map(
          (each) =>
            `${each.evaluator}${
              each.turn == null ? "" : `, turn ${each.turn}`
            }: ${each.reason}. ${each.message}`,
        )
        .join("\n"),
    );
  }

  /** @param {Turn[]} turns @param {Found} result */
  function chat(turns, result) {
    return html`<ol role="list" class="chat">
      ${turns.map((turn) => html`<li>${oneTurn(turn, result)}</li>`)}
    </ol>`;
  }

  /** @param {Turn} turn @param {Found} result */
  function oneTurn(turn, result) {
    const intent = of(result.intent_evaluations, turn.number);
    const correctness = of(result.correctness_evaluations, turn.number);
    const friction =
      result.efficiency_evaluation?.friction_turns?.filter(
        (/** @type {Found} */ each) => each.turn === turn.number,
      ) ?? [];
    const quotes = quotesOf(result, turn.number);
    return html`<article class="turn" id="turn-${turn.number}" aria-label="Turn ${turn.number}">
      <header>
        <strong>${turn.number}</strong
        ><time datetime=${turn.timestamp}>${format.moment(turn.timestamp)}</time>
        ${turn.has_image ? html`<span class="badge tone-fair">photo</span>` : nothing}
      </header>
      ${bubble({ who: "user", name: "User", text: turn.user_text, quotes })}
      ${bubble({
        who: "bot",
        name: turn.routed_intent ? `Bot, ${turn.routed_intent}` : "Bot",
        text: turn.bot_text,
        quotes,
      })}
      ${turn.error ? banner("failed", "Error in production", turn.error) : nothing}
      ${intentCard(intent, point)}${correctnessCard(correctness, point)}
      ${friction.map(
        (/** @type {Found} */ each) =>
          html`<p class="small">
            <span class="badge tone-warn">friction</span> caused by the ${each.cause.toLowerCase()}:
            ${each.description}
          </p>`,
      )}
    </article>`;
  }

  /** @param {Found} result @param {number} number */
  function quotesOf(result, number) {
    const told = [
      result.intent_evaluations,
      result.correctness_evaluations,
      [result.efficiency_evaluation],
    ]
      .flatMap((list) => list ?? [])
      .flatMap((each) => each?.evidence ?? []);
    return told
      .filter(
        (/** @type {Found} */ each) =>
          each.in_transcript && (each.turn === number || each.quote === pointed),
      )
      .map((/** @type {Found} */ each) => ({ quote: each.quote, active: each.quote === pointed }));
  }

  function gone() {
    return html`<p class="quiet">
      What was said is not there any more: its dataset was removed. The verdicts are.
    </p>`;
  }
}

/** @param {Found[] | null | undefined} list @param {number} number */
function of(list, number) {
  return list?.find((each) => each.turn === number);
}
