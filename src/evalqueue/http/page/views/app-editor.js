// An app is written: in a form, or as text. It is checked while it is written, and its evaluators
// can be tried before it is saved.

import { banner } from "../components/basics.js";
import { draftOf, forgetDraft, keepDraft } from "../data/drafts.js";
import { errorText, problemsOf } from "../data/errors.js";
import { AppProposals } from "../panels/app-proposals.js";
import { appForm, tidy } from "../panels/app-form.js";
import { appText, NOTATIONS } from "../panels/app-text.js";
import { EvaluatorTrial } from "../panels/evaluator-trial.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { address } from "../shell/root.js";

const CHECK_DELAY_MS = 400; // after the last change

/** @typedef {import("../client/index.js").AppDetails} AppDetails */
/** @typedef {import("../panels/app-text.js").Notation} Notation */

/**
 * @param {import("../app.js").App} app
 * @param {{ params: Record<string, string>, query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function appEditor(app, { params, query, signal }) {
  const appId = params.id ?? null;
  const datasetId = query.get("dataset");
  const copied = query.get("copy");
  const draftName = `app-${appId ?? copied ?? datasetId ?? "new"}`;
  const form = {
    mode: /** @type {"form" | "text"} */ ("form"),
    /** @type {Record<string, any>} */
    document: {},
    text: "",
    notation: /** @type {Notation} */ ("toml"),
    isOfDataset: datasetId !== null,
  };
  const trial = new EvaluatorTrial(app, signal);
  const proposals = new AppProposals(app, signal, (toml) => {
    Object.assign(form, { mode: "text", notation: "toml", text: toml });
    onChange();
  });
  /** @type {AppDetails | null} the app as it is now; null: it has mistakes, or is not checked yet */
  let checked = null;
  /** @type {unknown} */
  let formError = null;
  /** @type {unknown} */
  let loadError = null;
  let isLoaded = false;
  let isSaving = false;
  let checkNumber = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));

  async function load() {
    try {
      void app.attempt(() => trial.load(datasetId ?? undefined), signal);
      const draft = draftOf(draftName);
      if (draft) Object.assign(form, draft);
      else if (appId ?? copied) takeOver(await app.api.apps.get(appId ?? copied ?? "", { signal }));
      else {
        form.text = (await app.api.apps.draft(datasetId, { signal })).toml;
        form.mode = "text"; // it has comments
      }
      if (signal.aborted) return;
      isLoaded = true;
      loadError = null;
      await check();
    } catch (error) {
      if (signal.aborted) return;
      loadError = app.reportError(error);
    }
    app.refresh();
  }
  void load();

  /** @param {AppDetails} stored */
  function takeOver(stored) {
    form.document = stored.document;
    form.text = stored.toml;
    if (!appId) form.document = { ...stored.document, app_id: `${stored.app_id}-copy` };
  }

  /** The draft as the API takes it. */
  function sent() {
    return form.mode === "text"
      ? { text: form.text, notation: form.notation }
      : { document: tidy(form.document) };
  }

  function onChange() {
    keepDraft(draftName, form);
    checked = null;
    checkNumber += 1; // a check that is under way is of what was there before
    clearTimeout(timer);
    timer = setTimeout(check, CHECK_DELAY_MS);
    app.refresh();
  }

  /** Check the draft. Returns whether it stayed as it is meanwhile. */
  async function check() {
    clearTimeout(timer);
    const number = ++checkNumber;
    try {
      const found = await app.api.apps.add({ ...sent(), only_check: true, signal });
      if (number !== checkNumber || signal.aborted) return false;
      checked = found;
      formError = null;
    } catch (error) {
      if (number !== checkNumber || signal.aborted) return false;
      checked = null;
      formError = app.reportError(error);
    }
    app.refresh();
    return true;
  }

  /** @param {"form" | "text"} mode */
  async function switchTo(mode) {
    if (form.mode === mode || !(await check())) return;
    if (mode === "form") {
      const document = checked?.document ?? parsed(form);
      if (!document) {
        app.toast("Correct the text first: the form can't show it", "failed");
        return;
      }
      form.document = document;
    } else writeText(form.notation);
    form.mode = mode;
    keepDraft(draftName, form);
    await check();
  }

  /** @param {Notation} notation */
  async function writeIn(notation) {
    if (form.notation === notation || !(await check())) return;
    if (!checked) {
      app.toast("Correct the text first: it can't be written in another notation", "failed");
      return;
    }
    writeText(notation);
    keepDraft(draftName, form);
    await check();
  }

  /** The app as text; while it has mistakes, as JSON. @param {Notation} notation */
  function writeText(notation) {
    if (!checked || notation === "json") {
      const document = checked?.document ?? tidy(form.document);
      Object.assign(form, { text: JSON.stringify(document, null, 2), notation: "json" });
    } else Object.assign(form, { text: checked[notation], notation });
  }

  async function save() {
    if (isSaving) return;
    isSaving = true;
    app.refresh();
    const number = checkNumber;
    try {
      const used = form.isOfDataset && datasetId ? { dataset_id: datasetId } : {};
      const stored = await app.api.apps.add({ ...sent(), ...used });
      app.toast(`Saved: ${stored.app_id}, version ${stored.version}`);
      const isAllSaved = number === checkNumber; // else it was edited meanwhile
      if (isAllSaved) forgetDraft(draftName);
      if (isAllSaved && !signal.aborted) app.go(`/apps/${encodeURIComponent(stored.app_id)}`);
    } catch (error) {
      formError = app.reportError(error);
      checked = null;
    }
    isSaving = false;
    app.refresh();
  }

  function discard() {
    if (!confirm("Discard what was changed?")) return;
    forgetDraft(draftName);
    app.go(appId ? `/apps/${encodeURIComponent(appId)}` : "/apps");
  }

  const title = appId ? `Edit ${appId}` : "New app";
  return {
    title,
    resume: () => void (isLoaded ? check() : load()),
    render: () =>
      html`<nav class="crumbs small" aria-label="Breadcrumb">
          <a href=${address("/apps")}>Apps</a>${
            appId
              ? html`<a href=${address(`/apps/${encodeURIComponent(appId)}`)}>${appId}</a
                  ><span>Edit</span>`
              : html`<span>New</span>`
          }
        </nav>
        <div class="page-head">
          <div>
            <h1>${title}</h1>
            <p class="quiet small">Saving stores a new version; runs keep the one they used.</p>
          </div>
          ${isLoaded ? modes() : nothing}
        </div>
        ${loadError ? banner("failed", "The app can't be read", errorText(loadError)) : nothing}
        ${isLoaded ? editor() : nothing}`,
  };

  function modes() {
    return html`<div class="chips" role="group" aria-label="How it is written">
      ${chip("Form", form.mode === "form", () => switchTo("form"))}
      ${chip("Text", form.mode === "text", () => switchTo("text"))}
    </div>`;
  }

  /** @param {string} text @param {boolean} isPressed @param {() => unknown} onPress */
  function chip(text, isPressed, onPress) {
    return html`<button type="button" class="chip" aria-pressed=${isPressed} @click=${onPress}>
      ${text}
    </button>`;
  }

  function editor() {
    const problems = problemsOf(formError);
    return html`<div class="stack">
      ${datasetId ? proposals.render(datasetId) : nothing}
      ${
        form.mode === "form"
          ? appForm({
              document: form.document,
              problems,
              onChange: (document) => {
                form.document = document;
                onChange();
                app.render(); // the next change is made to this document
              },
            })
          : html`<section class="card stack-tight" aria-label="Document">
              <div class="chips" role="group" aria-label="Notation">
                ${NOTATIONS.map((notation) =>
                  chip(notation.toUpperCase(), form.notation === notation, () => writeIn(notation)),
                )}
              </div>
              ${appText({
                text: form.text,
                notation: form.notation,
                problems,
                onInput: (text) => {
                  form.text = text;
                  onChange();
                },
              })}
            </section>`
      }
      ${
        formError && !problems.length
          ? banner("failed", "The app can't be checked", errorText(formError))
          : nothing
      }
      ${trial.render(checked, sent)} ${saveBar(problems.length)}
    </div>`;
  }

  /** @param {number} mistakes */
  function saveBar(mistakes) {
    return html`<div class="bar-bottom row-wide">
      <div role="status">
        ${
          checked
            ? html`<strong>Valid.</strong>
                <span class="quiet">Evaluators: ${checked.evaluators.join(", ")}</span>`
            : html`<span class=${mistakes ? "wrong" : "quiet"}
                >${
                  mistakes
                    ? `${mistakes} ${mistakes === 1 ? "mistake" : "mistakes"}: see above.`
                    : "Checking …"
                }</span
              >`
        }
        ${
          datasetId
            ? html`<label class="choice"
                ><input
                  type="checkbox"
                  .checked=${form.isOfDataset}
                  @change=${() => {
                    form.isOfDataset = !form.isOfDataset;
                    keepDraft(draftName, form);
                  }}
                /><span>Use it for the dataset</span></label
              >`
            : nothing
        }
      </div>
      <div class="row">
        <button type="button" @click=${discard}>Discard</button>
        <button type="button" class="primary" ?disabled=${!checked || isSaving} @click=${save}>
          ${isSaving ? "Saving …" : "Save"}
        </button>
      </div>
    </div>`;
  }
}

/**
 * The document in a text that is JSON; null: it is not, or not an object.
 * @param {{ text: string, notation: Notation }} of
 */
function parsed({ text, notation }) {
  if (notation !== "json") return null;
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
