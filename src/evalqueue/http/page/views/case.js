// One case of an adversarial test: the simulated user, the conversation, and the judge's verdict.

import { badge, banner, chip } from "../components/basics.js";
import { ruleList } from "../components/rule-list.js";
import { bubble, quotesOfTurn, scrollToHighlight } from "../components/transcript.js";
import { errorText, isTransient } from "../data/errors.js";
import { evidenceList } from "../evaluators/parts.js";
import { isOver, label } from "../format/labels.js";
import * as format from "../format/values.js";
import { LlmCalls } from "../panels/llm-calls.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const POLL_INTERVAL_MS = 2_000;

/**
 * @typedef {Record<string, any>} Json the result of a trial
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function adversarialCase(app, { params, signal }) {
  const { id: runId = "", case_id: caseId = "" } = params;
  /** @type {import("../client/index.js").CaseTrials | null} */
  let detail = null;
  /** @type {import("../client/index.js").Dialogue[]} */
  let dialogues = []; // the trials that have no verdict yet
  let trial = 1;
  /** @type {unknown} */
  let loadError = null;
  /** @type {string | null} */
  let highlighted = null;
  const calls = new LlmCalls(app, runId, signal);
  app.positions.setOpened(runId, caseId);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));

  async function load() {
    if (document.hidden) {
      timer = setTimeout(load, POLL_INTERVAL_MS);
      return;
    }
    try {
      const [trials, unjudged, { status }] = await Promise.all([
        app.api.runs.case(runId, caseId),
        app.api.runs.dialogues(runId),
        app.api.runs.get(runId),
      ]);
      if (signal.aborted) return;
      detail = trials;
      loadError = null;
      dialogues = unjudged.dialogues.filter((each) => each.case_id === caseId);
      void calls.load(`${caseId}/${trial}`);
      if (!isOver(status)) timer = setTimeout(load, POLL_INTERVAL_MS);
    } catch (error) {
      if (signal.aborted) return;
      loadError = app.reportError(error);
      if (isTransient(error)) timer = setTimeout(load, POLL_INTERVAL_MS);
    }
    app.refresh();
  }
  void load();

  /** @param {string | undefined} id */
  function go(id) {
    if (id !== undefined) app.go(`/runs/${runId}/cases/${id}`);
  }

  /** @param {number} number */
  function chooseTrial(number) {
    trial = number;
    void calls.load(`${caseId}/${trial}`);
    app.refresh();
  }

  /** @param {string} quote */
  function highlight(quote) {
    highlighted = highlighted === quote ? null : quote;
    app.refresh();
    scrollToHighlight();
  }

  return {
    get title() {
      return detail ? detail.case.label : "Case";
    },
    keys: {
      j: () => go(app.positions.neighbours(runId, caseId)?.next),
      k: () => go(app.positions.neighbours(runId, caseId)?.previous),
      u: () => app.go(app.positions.runPath(runId)),
    },
    render() {
      const problem = loadError
        ? banner(
            "failed",
            detail ? "This case can't be refreshed" : "This case can't be shown",
            errorText(loadError),
          )
        : nothing;
      if (!detail) return problem;
      const row = detail.evaluations.find((each) => each.trial === trial);
      const live = dialogues.find((each) => each.trial === trial);
      const result = /** @type {Json} */ (row?.result ?? {});
      const turns = /** @type {Json[]} */ (result.transcript ?? live?.turns ?? []);
      const list = app.positions.neighbours(runId, caseId);
      return html`<div class="crumbs">
          <a href=${address("/runs")}>Runs</a
          ><a href=${address(app.positions.runPath(runId))}>${format.shortId(runId)}</a
          ><span
            >Case${
              list ? ` ${format.count(list.index + 1)} of ${format.count(list.total)}` : ""
            }</span
          >
        </div>
        <div class="page-head">
          <div>
            <h1>${detail.case.label}</h1>
            <div class="row">
              ${
                row
                  ? badge(row.verdict, "not judged")
                  : live
                    ? html`<span class="badge tone-busy"
                        >${live.is_live ? "talking" : "to be judged"}</span
                      >`
                    : html`<span class="badge tone-none">not started</span>`
              }
              ${
                row
                  ? html`<span class="small quiet"
                      >${label(row.stop_reason)} after
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
                        ${turns.map((turn) => html`<li>${turnArticle(turn, result)}</li>`)}
                      </ol>
                      ${ending(result, live)}`
                  : html`<p class="quiet">No message yet.</p>`
              }
            </section>
            <aside class="stack" aria-label="Verdict" tabindex="0">
              ${judgeCard(result)}${userCard()}
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
      ...new Set([...(detail?.evaluations ?? []), ...dialogues].map((each) => each.trial)),
    ].sort((a, b) => a - b);
    if (numbers.length < 2) return nothing;
    return html`<div class="chips" role="group" aria-label="Trials">
      ${numbers.map((n) =>
        chip({ text: `Trial ${n}`, isPressed: n === trial, onPress: () => chooseTrial(n) }),
      )}
    </div>`;
  }

  /** @param {Json} turn @param {Json} result */
  function turnArticle(turn, result) {
    const judge = result.judge;
    const quotes = quotesOfTurn(judge?.evidence ?? [], turn.number, highlighted);
    const isFirstFailure = judge?.first_failing_turn === turn.number;
    return html`<article
      class="turn ${isFirstFailure ? "chosen" : ""}"
      id="turn-${turn.number}"
      aria-label="Turn ${turn.number}"
    >
      <header>
        <strong>${turn.number}</strong
        ><time datetime=${turn.sent_at}>${format.moment(turn.sent_at)}</time>
        ${isFirstFailure ? html`<span class="badge tone-bad">fails here</span>` : nothing}
        ${
          turn.message.tactic && turn.message.tactic !== "none"
            ? html`<span class="badge tone-worst">${label(turn.message.tactic)}</span>`
            : nothing
        }
        ${
          turn.message.by === "card"
            ? html`<span class="badge tone-fair">card tapped</span>`
            : nothing
        }
      </header>
      ${bubble({
        sender: "user",
        name: "Difficult user",
        text: turn.message.text,
        quotes,
        note: turn.message.reason
          ? html`<p class="small quiet">${turn.message.reason}</p>`
          : nothing,
      })}
      ${
        turn.reply
          ? bubble({
              sender: "bot",
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
          ? banner(
              "failed",
              "Incomplete answer",
              `${label(turn.fault.fault)}: ${turn.fault.message}${sentInstead(turn.fault)}`,
            )
          : nothing
      }
      ${
        !turn.reply && !turn.fault
          ? html`<p class="small quiet">waiting for the bot …</p>`
          : nothing
      }
    </article>`;
  }

  /** @param {Json} fault */
  function sentInstead(fault) {
    return fault.quote ? `. Sent instead: ${fault.quote}` : "";
  }

  /** @param {Json | null} content */
  function card(content) {
    if (!content) return nothing;
    return html`<details>
      <summary class="small">Card: ${content.kind}</summary>
      <div class="text">${content.shown}</div>
    </details>`;
  }

  /** @param {Json} result @param {import("../client/index.js").Dialogue | undefined} live */
  function ending(result, live) {
    const end = /** @type {Json | null | undefined} */ (result.facts?.ending ?? live?.ending);
    if (!end) return nothing;
    return html`<p class="quiet">
        <strong>${label(end.stop_reason)}</strong>${end.reason ? `: ${end.reason}` : ""}
      </p>
      ${Object.entries(end.states ?? {}).map(
        ([goal, state]) =>
          html`<p class="small quiet">
            State of ${label(goal)}, as the user sees it: ${label(String(state))}
          </p>`,
      )}`;
  }

  /** @param {Json} result */
  function judgeCard(result) {
    const judge = /** @type {Json | null | undefined} */ (result.judge);
    if (!judge) return nothing;
    return html`<section class="card stack-tight">
      <h2>Judge ${badge(judge.verdict)}</h2>
      <p class="small">${judge.reasoning}</p>
      ${evidenceList(judge.evidence, highlight)}
      ${
        judge.failure_modes?.length
          ? html`<div class="chips">
              ${judge.failure_modes.map(
                (/** @type {string} */ mode) =>
                  html`<span class="badge tone-bad">${label(mode)}</span>`,
              )}
            </div>`
          : nothing
      }
      ${(judge.goal_verdicts ?? []).map(
        (/** @type {Json} */ goal) =>
          html`<p class="small">
            <span class="badge tone-${goal.achieved ? "fair" : "none"}"
              >${label(goal.goal_id)}: ${goal.achieved ? "reached" : "not reached"}</span
            >
            ${goal.reasoning}
          </p>`,
      )}
      ${ruleList(judge.rule_compliance)}
      ${(result.derived?.contradictions ?? []).map(
        (/** @type {string} */ each) =>
          html`<p class="small">
            <span class="badge tone-warn">contradiction</span> ${label(each)}
          </p>`,
      )}
    </section>`;
  }

  function userCard() {
    const { case: user } = /** @type {import("../client/index.js").CaseTrials} */ (detail);
    const facts = [
      ["Persona", user.persona],
      ["Difficulty", user.difficulty],
      ["Traits", user.traits.map((each) => label(each)).join(", ")],
      ["Goals", user.goals.map((each) => label(each)).join(", ")],
      ["Tactic", user.tactic && label(user.tactic)],
      ["Objective", user.objective],
      ["The bot should", user.expected_behavior],
      ["Source", user.source],
    ].filter(([, value]) => value);
    return html`<section class="card">
      <h2>The user</h2>
      <dl class="facts small">
        ${facts.map(
          ([name, value]) =>
            html`<dt>${name}</dt>
              <dd>${value}</dd>`,
        )}
      </dl>
    </section>`;
  }
}
