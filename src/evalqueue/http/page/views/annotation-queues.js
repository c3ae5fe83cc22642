// The annotation queues of a run: what people are asked to label, how far they are, and a new one.

import { banner, empty } from "../components/basics.js";
import { errorText, problemsOf } from "../data/errors.js";
import { refresher } from "../data/refresher.js";
import * as format from "../format/values.js";
import { address } from "../shell/root.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/**
 * @typedef {import("../client/index.js").AnnotationQueue} AnnotationQueue
 * @typedef {import("../client/index.js").ScoreCalibration} ScoreCalibration
 */

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function annotationQueues(app, { params: { id = "" }, signal }) {
  /** @type {AnnotationQueue[] | null} */
  let queues = null;
  /** @type {Map<string, string>} titles of what can be labelled, by evaluator and name */
  let scores = new Map();
  /** @type {unknown} */
  let loadError = null;
  /** @type {unknown} */
  let createError = null;
  let isCreating = false;
  const mayLabel = app.session?.right !== "read";

  const load = refresher(
    async () => {
      const [found, calibration] = await Promise.all([
        app.api.annotation.list(id),
        app.api.runs.calibration(id),
      ]);
      queues = found.queues;
      scores = titlesOf(calibration.scores);
      loadError = null;
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

  /** @param {SubmitEvent} event */
  async function create(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const [evaluator = "", name] = String(form.get("score")).split(".");
    isCreating = true;
    app.refresh();
    try {
      const queue = await app.api.annotation.create({
        run_id: id,
        evaluator,
        name: name ?? null,
        selection: form.get("selection") === "disagreements" ? "disagreements" : "random",
        size: Number(form.get("size")),
        annotators: Number(form.get("annotators")),
      });
      if (!signal.aborted) app.go(`/annotation/${queue.id}`);
    } catch (error) {
      createError = app.reportError(error);
    }
    isCreating = false;
    app.refresh();
  }

  return {
    title: "Label conversations",
    render() {
      return html`<div class="crumbs">
          <a href=${address("/runs")}>Runs</a
          ><a href=${address(`/runs/${id}`)}>${format.shortId(id)}</a
          ><span>Label conversations</span>
        </div>
        <div class="page-head"><h1>Label conversations</h1></div>
        <div class="stack">
          ${loadError ? banner("failed", "The annotation queues can't be shown", errorText(loadError)) : nothing}
          ${queues ? html`${table(queues)}${mayLabel ? form() : nothing}` : nothing}
        </div>`;
    },
  };

  /** @param {AnnotationQueue[]} found */
  function table(found) {
    if (!found.length) {
      return html`<section class="card">
        ${empty("No queue yet", "Labels of some conversations tell how often the judge is wrong.")}
      </section>`;
    }
    return html`<section class="card flush">
      <div class="row-wide"><h2>Annotation queues</h2></div>
      <div class="scroll" tabindex="0" role="region" aria-label="Annotation queues">
        <table class="table cards">
          <caption class="visually-hidden">
            What people are asked to label, and how far they are
          </caption>
          <thead>
            <tr>
              <th scope="col">Question</th>
              <th scope="col">Conversations</th>
              <th scope="col" class="num">Complete</th>
              <th scope="col" class="num">Agreement of people</th>
              <th scope="col">Disputed</th>
            </tr>
          </thead>
          <tbody>
            ${found.map(row)}
          </tbody>
        </table>
      </div>
    </section>`;
  }

  /** @param {AnnotationQueue} queue */
  function row({ id, question, selection, annotators, progress }) {
    return html`<tr>
      <td><a class="cover" href=${address(`/annotation/${id}`)}>${question.title}</a></td>
      <td data-label="Conversations">
        ${selection === "random" ? "at random" : "disagreements of the judge"},
        ${format.plural(annotators, "person", "people")} each
      </td>
      <td data-label="Complete" class="num">
        ${format.count(progress.complete)} of ${format.count(progress.items)}
      </td>
      <td data-label="Agreement of people" class="num">
        ${progress.agreement == null ? format.NOTHING : html`α ${progress.agreement.toFixed(2)}`}
      </td>
      <td data-label="Disputed">
        ${
          progress.disputed && mayLabel
            ? html`<a href=${address(`/annotation/${id}?decide=1`)}>Decide ${progress.disputed}</a>`
            : format.count(progress.disputed)
        }
      </td>
    </tr>`;
  }

  function form() {
    return html`<form class="card stack-tight" @submit=${create}>
      <h2>Ask people</h2>
      ${createError ? banner("failed", "The queue was not made", reasonOf(createError)) : nothing}
      <div class="grid">
        <label class="field"
          ><span>Question</span
          ><select name="score">
            ${[...scores].map(([key, title]) => html`<option value=${key}>${title}</option>`)}
          </select></label
        >
        <label class="field"
          ><span>Conversations</span
          ><select name="selection">
            <option value="random">At random: corrects the rate</option>
            <option value="disagreements">Split votes, then the rarest verdicts</option>
          </select></label
        >
        <label class="field"
          ><span>How many</span
          ><input name="size" type="number" min="1" max="2000" value="50" required
        /></label>
        <label class="field"
          ><span>People for each</span
          ><input name="annotators" type="number" min="1" max="5" value="1" required
        /></label>
      </div>
      <div class="row">
        <button class="primary" ?disabled=${isCreating}>Create and label</button>
      </div>
    </form>`;
  }
}

/** @param {unknown} error */
function reasonOf(error) {
  const [problem] = problemsOf(error);
  return problem ? problem.msg : errorText(error);
}

/** @param {ScoreCalibration[]} found one for each version of an evaluator */
function titlesOf(found) {
  return new Map(found.map(({ evaluator, name, title }) => [`${evaluator}.${name}`, title]));
}
