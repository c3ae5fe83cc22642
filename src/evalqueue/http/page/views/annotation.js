// Label the conversations of an annotation queue one after the other, by keys alone: a number chooses,
// Enter saves and goes on. What the judge has said is shown once the label is saved.

import { banner, empty, progress } from "../components/basics.js";
import { turnArticle } from "../components/turn.js";
import { AnnotationSession } from "../data/annotation-session.js";
import { draftOf, keepDraft } from "../data/drafts.js";
import { errorText } from "../data/errors.js";
import { refresher } from "../data/refresher.js";
import { label } from "../format/labels.js";
import * as format from "../format/values.js";
import { address } from "../shell/root.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const NAME = "annotator"; // of the draft
const MAX_KEY = 9;
const WORDS = { true: "yes", false: "no" };

/**
 * @typedef {import("../client/index.js").AnnotationQueue} AnnotationQueue
 * @typedef {import("../data/annotation-session.js").Entry} Entry
 */

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function annotation(app, { params: { id = "" }, query, signal }) {
  const adjudicates = query.has("decide");
  /** @type {AnnotationQueue | null} */
  let queue = null;
  /** @type {AnnotationSession | null} null: who labels is not known yet */
  let session = null;
  /** @type {unknown} */
  let loadError = null;
  const mayLabel = app.session?.right !== "read";

  const load = refresher(
    async () => {
      queue = await app.api.annotation.get(id);
      if (signal.aborted) return;
      loadError = null;
      const name = draftOf(NAME) ?? (app.session?.needs_token ? app.session.name : "");
      if (name && mayLabel) begin(name);
      app.refresh();
    },
    {
      signal,
      minIntervalMs: 0,
      onError: (error) => {
        loadError = app.reportError(error);
        app.refresh();
      },
    },
  );
  load();

  /** @param {string} annotator */
  function begin(annotator) {
    if (!queue || session) return;
    keepDraft(NAME, annotator);
    session = new AnnotationSession({ app, queue, annotator, adjudicates, signal });
    void goOn();
  }

  /** @param {SubmitEvent} event */
  function onName(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const name = String(form.get("name")).trim();
    if (name) begin(name);
  }

  async function goOn() {
    await session?.next();
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }

  /** @param {string} value */
  function choose(value) {
    const entry = session?.current;
    if (!entry || entry.result) return;
    entry.value = value;
    app.render();
    document.getElementById("save")?.focus({ preventScroll: true });
  }

  /** @param {Event} event */
  async function save(event) {
    event.preventDefault();
    await session?.save();
    document.getElementById("next")?.focus();
  }

  function back() {
    session?.back();
    document.getElementById("save")?.focus({ preventScroll: true });
  }

  return {
    get title() {
      return queue ? `Label: ${queue.question.title}` : "Label conversations";
    },
    get keys() {
      const menu = queue?.question.menu.slice(0, MAX_KEY) ?? [];
      return {
        ...Object.fromEntries(menu.map(({ value }, i) => [String(i + 1), () => choose(value)])),
        n: () => document.getElementById("note")?.focus(),
        u: back,
      };
    },
    resume() {
      if (!session?.current) load();
    },
    render() {
      if (loadError) {
        return banner("failed", "This annotation queue can't be shown", errorText(loadError));
      }
      if (!queue) return nothing;
      const { run_id: runId, question } = queue;
      return html`<div class="crumbs">
          <a href=${address("/runs")}>Runs</a
          ><a href=${address(`/runs/${runId}`)}>${format.shortId(runId)}</a
          ><a href=${address(`/runs/${runId}/annotation`)}>Label conversations</a
          ><span>${question.title}</span>
        </div>
        <div class="page-head">
          <h1>${question.title}</h1>
          ${progressOf(session?.progress ?? queue.progress, queue.annotators)}
        </div>
        ${content(queue)}`;
    },
  };

  /** @param {AnnotationQueue["progress"]} found @param {number} annotators */
  function progressOf({ items, complete, labels, agreement }, annotators) {
    return html`<div class="stack-tight annotation-progress">
      ${progress({ current: complete, total: items, status: "running", name: "Labelled conversations" })}
      <p class="small quiet">
        ${format.count(labels)} of
        ${format.plural(items * annotators, "label")}${
          agreement == null ? nothing : html`; agreement of people: α ${agreement.toFixed(2)}`
        }
      </p>
    </div>`;
  }

  /** @param {AnnotationQueue} found */
  function content(found) {
    if (!mayLabel) {
      return empty("You can read, but not label", "Labelling needs the right to submit.");
    }
    if (!session) return nameForm();
    const { current } = session;
    if (!current) return session.isLoading ? nothing : nothingLeft(found, session);
    const { item } = current;
    return html`<div class="split">
      <section class="card" aria-label="Conversation">
        <ol role="list" class="chat">
          ${item.turns.map((turn) => html`<li>${turnArticle(turn)}</li>`)}
        </ol>
      </section>
      <aside class="stack" aria-label="Label">
        ${disputed(item.labels)}
        ${current.result ? verdictCard(current) : questionCard(found, current)}
      </aside>
    </div>`;
  }

  function nameForm() {
    return html`<form class="card stack-tight" @submit=${onName}>
      <label class="field"
        ><span>Your name, which stands with your labels</span
        ><input name="name" maxlength="200" required autocomplete="name"
      /></label>
      <div class="row"><button class="primary">Begin</button></div>
    </form>`;
  }

  /** @param {AnnotationQueue} found @param {AnnotationSession} at */
  function nothingLeft({ run_id: runId }, { progress: { items, complete, disputed } }) {
    const isComplete = complete === items;
    const text = adjudicates
      ? "Nothing is left that you can decide: those who have labelled a conversation do not decide."
      : isComplete
        ? "All conversations are labelled."
        : "The rest waits for other people, or is with them just now.";
    return html`<section class="card">
      ${empty(
        "Nothing left for you",
        text,
        html`<div class="row">
          ${isComplete ? nothing : html`<button type="button" @click=${goOn}>Look again</button>`}
          ${session?.canGoBack ? html`<button type="button" @click=${back}>Correct the last <kbd>u</kbd></button>` : nothing}
          ${
            disputed && !adjudicates
              ? html`<a class="button" href=${address(`/annotation/${id}?decide=1`)}
                  >Decide ${format.plural(disputed, "dispute")}</a
                >`
              : nothing
          }
          <a class="button" href=${address(`/runs/${runId}`)}>To the run</a>
        </div>`,
      )}
    </section>`;
  }

  /** What people say who disagree. @param {Entry["item"]["labels"]} labels */
  function disputed(labels) {
    return labels.length
      ? html`<section class="card stack-tight">
          <h2>They disagree: you decide</h2>
          ${labelList(labels)}
        </section>`
      : nothing;
  }

  /** @param {AnnotationQueue} found @param {Entry} entry */
  function questionCard({ question }, entry) {
    return html`<form class="card stack-tight" @submit=${save}>
      <h2 id="question">${question.question || question.title}</h2>
      <div class="stack-tight" role="group" aria-labelledby="question">
        ${question.menu.map(
          ({ value, description }, i) =>
            html`<button
              type="button"
              class="menu-value"
              aria-pressed=${entry.value === value}
              @click=${() => choose(value)}
            >
              ${i < MAX_KEY ? html`<kbd aria-hidden="true">${i + 1}</kbd>` : nothing}<span
                ><b>${word(value)}</b>
                ${description ? html`<span class="small quiet">${description}</span>` : nothing}</span
              >
            </button>`,
        )}
      </div>
      <label class="field"
        ><span>Note <kbd aria-hidden="true">n</kbd></span
        ><input
          id="note"
          maxlength="4000"
          autocomplete="off"
          .value=${entry.note}
          @input=${(/** @type {Event} */ event) => {
            entry.note = /** @type {HTMLInputElement} */ (event.target).value;
          }}
      /></label>
      ${
        entry.refusal
          ? banner(
              "failed",
              "Your label is not saved",
              entry.refusal,
              html`<button type="button" @click=${goOn}>Next conversation</button>`,
            )
          : nothing
      }
      <div class="row">
        <button id="save" class="primary" ?disabled=${!entry.value}>
          Save${entry.value ? html`: ${word(entry.value)}` : nothing}
          <kbd aria-hidden="true">⏎</kbd>
        </button>
        ${
          session?.canGoBack
            ? html`<button type="button" @click=${back}>
                Back <kbd aria-hidden="true">u</kbd>
              </button>`
            : nothing
        }
      </div>
    </form>`;
  }

  /** @param {Entry} entry that is labelled */
  function verdictCard({ item, value, result }) {
    const { judged, labels } = /** @type {NonNullable<Entry["result"]>} */ (result);
    const agrees = judged.value === value;
    const [tone, text] =
      judged.value == null
        ? ["none", "no verdict"]
        : agrees
          ? ["good", "agrees with you"]
          : ["bad", "disagrees with you"];
    return html`<section class="card stack-tight" aria-live="polite">
      <div class="row-wide">
        <h2>The judge</h2>
        <span class="badge tone-${tone}">${text}</span>
      </div>
      <dl class="facts">
        <dt>You</dt>
        <dd>${word(value)}</dd>
        <dt>Judge</dt>
        <dd>${judged.value == null ? format.NOTHING : word(judged.value)}</dd>
        <dt>Conversation</dt>
        <dd>${item.thread_id}</dd>
      </dl>
      ${judged.reasoning ? html`<p>${judged.reasoning}</p>` : nothing}
      ${
        labels.length > 1
          ? html`<h3>All labels</h3>
              ${labelList(labels)}`
          : nothing
      }
      <div class="row">
        <button type="button" id="next" class="primary" @click=${goOn}>
          Next <kbd aria-hidden="true">⏎</kbd>
        </button>
        <button type="button" @click=${back}>Correct <kbd aria-hidden="true">u</kbd></button>
      </div>
    </section>`;
  }
}

/** @param {Entry["item"]["labels"]} labels */
function labelList(labels) {
  return html`<dl class="facts">
    ${labels.map(
      ({ labelled_by: person, value, note, adjudicates }) =>
        html`<dt>${person}${adjudicates ? " decides" : nothing}</dt>
          <dd>${word(value)}${note ? html`<span class="quiet">: ${note}</span>` : nothing}</dd>`,
    )}
  </dl>`;
}

/** A value as people read it. @param {string} value */
function word(value) {
  return value in WORDS ? WORDS[/** @type {keyof typeof WORDS} */ (value)] : label(value);
}
