// One difficult user: what they wanted, how they went about it, how it ended, what the judge thinks.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { Calls } from "../calls.js";
import { evidence } from "../findings.js";
import * as format from "../format.js";
import { badge, banner, chip, errorText } from "../parts.js";
import { ruleList } from "../rules.js";
import { mayPass } from "../steady.js";
import { bubble } from "../transcript.js";
import { isOver, said } from "../verdicts.js";

const LOOK_MS = 2_000; // turns come every few seconds

/**
 * @typedef {Record<string, any>} Found  JSON of an adjudication
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, signal: AbortSignal }} place
 * @returns {import("../app.js").View}
 */
export default function stressCase(app, { params: { id: run = "", case: caseId = "" }, signal }) {
  /** @type {import("../client/index.js").CaseTrials | null} */
  let found = null;
  /** @type {import("../client/index.js").Dialogue[]} */
  let held = [];
  let trial = 1;
  /** @type {unknown} */
  let broken = null;
  /** @type {string | null} */
  let pointed = null;
  const calls = new Calls(app, run, signal);
  app.trail.opens(run, caseId);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));

  async function read() {
    if (document.hidden) {
      timer = setTimeout(read, LOOK_MS);
      return;
    }
    try {
      const [trials, { dialogues }, { status }] = await Promise.all([
        app.api.runs.case(run, caseId),
        app.api.runs.dialogues(run),
        app.api.runs.get(run),
      ]);
      if (signal.aborted) return;
      found = trials;
      broken = null;
      held = dialogues.filter((each) => each.case_id === caseId);
      void calls.read(`${caseId}/${trial}`);
      if (!isOver(status)) timer = setTimeout(read, LOOK_MS);
    } catch (error) {
      if (signal.aborted) return;
      broken = app.noted(error);
      if (mayPass(error)) timer = setTimeout(read, LOOK_MS);
    }
    app.refresh();
  }
  void read();

  /** @param {string | undefined} id */
  function go(id) {
    if (id !== undefined) app.go(`/runs/${run}/cases/${id}`);
  }

  /** @param {number} wanted */
  function choose(wanted) {
    trial = wanted;
    void calls.read(`${caseId}/${trial}`);
    app.refresh();
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
      return found ? found.case.label : "Case";
    },
    keys: {
      j: () => go(app.trail.around(run, caseId)?.next),
      k: () => go(app.trail.around(run, caseId)?.previous),
      u: () => app.go(app.trail.up(run)),
    },
    render() {
      const problem = broken
        ? banner(
            "failed",
            found ? "It can't be read how this case stands" : "This case can't be shown",
            errorText(broken),
          )
        : nothing;
      if (!found) return problem;
      const row = found.evaluations.find((each) => each.trial === trial);
      const live = held.find((each) => each.trial === trial);
      const result = /** @type {Found} */ (row?.result ?? {});
      const turns = /** @type {Found[]} */ (result.transcript ?? live?.turns ?? []);
      const list = app.trail.around(run, caseId);
      return html`<div class="crumbs">
          <a href="/runs">Runs</a><a href=${app.trail.up(run)}>${format.shortId(run)}</a
          ><span
            >Case${list ? ` ${format.count(list.at + 1)} of ${format.count(list.of)}` : ""}</span
          >
        </div>
        <div class="page-head">
          <div>
            <h1>${found.case.label}</h1>
            <div class="row">
              ${
                row
                  ? badge(row.verdict, "not judged")
                  : live
                    ? html`<span class="badge tone-busy"
                        >${live.is_live ? "talking" : "to be judged"}</span
                      >`
                    : html`<span class="badge tone-none">not put yet</span>`
              }
              ${
                row
                  ? html`<span class="small quiet"
                      >${said(row.stop_reason)} after
                      ${format.plural(row.total_turns, "turn")}</span
                    >`
                  : nothing
              }
            </div>
          </div>
          ${
            list
              ? html`<div class="row">
                  <button
                    type="button"
                    ?disabled=${list.previous === undefined}
                    @click=${() => go(list.previous)}
                  >
                    ← Previous <kbd>k</kbd>
                  </button>
                  <button
                    type="button"
                    ?disabled=${list.next === undefined}
                    @click=${() => go(list.next)}
                  >
                    Next → <kbd>j</kbd>
                  </button>
                </div>`
              : nothing
          }
        </div>
        <div class="stack">
          ${problem}${trials()} ${row?.error ? banner("failed", "No verdict", row.error) : nothing}
          <div class="split">
            <section class="card" aria-label="Conversation">
              ${
                turns.length
                  ? html`<ol role="list" class="chat">
                        ${turns.map((turn) => html`<li>${oneTurn(turn, result)}</li>`)}
                      </ol>
                      ${ending(result, live)}`
                  : html`<p class="quiet">Nothing has been said yet.</p>`
              }
            </section>
            <aside class="stack" aria-label="Verdict" tabindex="0">
              ${judgement(result)}${user()}
              <section class="card">
                <h2>LLM calls</h2>
                ${calls.render()}
              </section>
            </aside>
          </div>
        </div>`;
    },
  };

  function trials() {
    const numbers = [
      ...new Set([...(found?.evaluations ?? []), ...held].map((each) => each.trial)),
    ].sort((a, b) => a - b);
    if (numbers.length < 2) return nothing;
    return html`<div class="chips" role="group" aria-label="Trials">
      ${numbers.map((n) =>
        chip({ label: `Trial ${n}`, pressed: n === trial, press: () => choose(n) }),
      )}
    </div>`;
  }

  /** @param {Found} turn @param {Found} result */
  function oneTurn(turn, result) {
    const judge = result.judge;
    const quotes = (judge?.evidence ?? [])
      .filter(
        (/** @type {Found} */ each) =>
          each.in_transcript && (each.turn === turn.number || each.quote === pointed),
      )
      .map((/** @type {Found} */ each) => ({ quote: each.quote, active: each.quote === pointed }));
    const isFirstFault = judge?.first_failing_turn === turn.number;
    return html`<article
      class="turn ${isFirstFault ? "chosen" : ""}"
      id="turn-${turn.number}"
      aria-label="Turn ${turn.number}"
    >
      <header>
        <strong>${turn.number}</strong
        ><time datetime=${turn.said_at}>${format.moment(turn.said_at)}</time>
        ${isFirstFault ? html`<span class="badge tone-bad">fails here</span>` : nothing}
        ${
          turn.said.tactic && turn.said.tactic !== "none"
            ? html`<span class="badge tone-worst">${said(turn.said.tactic)}</span>`
            : nothing
        }
        ${
          turn.said.by === "card" ? html`<span class="badge tone-fair">card tapped</span>` : nothing
        }
      </header>
      ${bubble({
        who: "user",
        name: "Difficult user",
        text: turn.said.text,
        quotes,
        note: turn.said.reason ? html`<p class="small quiet">${turn.said.reason}</p>` : nothing,
      })}
      ${
        turn.reply
          ? bubble({
              who: "bot",
              name: turn.reply.intents?.length ? `Bot, ${turn.reply.intents.join(", ")}` : "Bot",
              text: turn.reply.text,
              quotes,
              note: card(turn.reply.card),
            })
          : nothing
      }
      ${
        turn.reply?.error ? banner("failed", "The bot reports an error", turn.reply.error) : nothing
      }
      ${
        turn.fault
          ? banner("failed", "No whole answer", `${said(turn.fault.fault)}: ${turn.fault.message}`)
          : nothing
      }
      ${
        !turn.reply && !turn.fault
          ? html`<p class="small quiet">waiting for the bot …</p>`
          : nothing
      }
    </article>`;
  }

  /** @param {Found | null} shown */
  function card(shown) {
    if (!shown) return nothing;
    return html`<details>
      <summary class="small">Card: ${shown.kind}</summary>
      <div class="text">${shown.shown}</div>
    </details>`;
  }

  /** @param {Found} result @param {import("../client/index.js").Dialogue | undefined} live */
  function ending(result, live) {
    const end = /** @type {Found | null | undefined} */ (result.facts?.ending ?? live?.ending);
    if (!end) return nothing;
    return html`<p class="quiet">
        <strong>${said(end.stop_reason)}</strong>${end.reason ? `: ${end.reason}` : ""}
      </p>
      ${Object.entries(end.states ?? {}).map(
        ([goal, state]) =>
          html`<p class="small quiet">
            The user believes of ${said(goal)}: ${said(String(state))}
          </p>`,
      )}`;
  }

  /** @param {Found} result */
  function judgement(result) {
    const judge = /** @type {Found | null | undefined} */ (result.judge);
    if (!judge) return nothing;
    return html`<section class="card stack-tight">
      <h2>Judge ${badge(judge.verdict)}</h2>
      <p class="small">${judge.reasoning}</p>
      ${evidence(judge.evidence, point)}
      ${
        judge.failure_modes?.length
          ? html`<div class="chips">
              ${judge.failure_modes.map(
                (/** @type {string} */ mode) =>
                  html`<span class="badge tone-bad">${said(mode)}</span>`,
              )}
            </div>`
          : nothing
      }
      ${(judge.goal_verdicts ?? []).map(
        (/** @type {Found} */ goal) =>
          html`<p class="small">
            <span class="badge tone-${goal.achieved ? "fair" : "none"}"
              >${said(goal.goal_id)}: ${goal.achieved ? "reached" : "not reached"}</span
            >
            ${goal.reasoning}
          </p>`,
      )}
      ${ruleList(judge.rule_compliance)}
      ${(result.derived?.contradictions ?? []).map(
        (/** @type {string} */ each) =>
          html`<p class="small">
            <span class="badge tone-warn">contradiction</span> ${said(each)}
          </p>`,
      )}
    </section>`;
  }

  function user() {
    const { case: who } = /** @type {import("../client/index.js").CaseTrials} */ (found);
    const told = [
      ["Persona", who.persona],
      ["Difficulty", who.difficulty],
      ["Traits", who.traits.map((each) => said(each)).join(", ")],
      ["Goals", who.goals.map((each) => said(each)).join(", ")],
      ["Tactic", who.tactic && said(who.tactic)],
      ["Objective", who.objective],
      ["The bot should", who.expected_behavior],
      ["Source", who.source],
    ].filter(([, value]) => value);
    return html`<section class="card">
      <h2>The user</h2>
      <dl class="facts small">
        ${told.map(
          ([name, value]) =>
            html`<dt>${name}</dt>
              <dd>${value}</dd>`,
        )}
      </dl>
    </section>`;
  }
}
