// The form for a new evaluation: data, scope, evaluators and judge, and a preview of the LLM calls.

import { randomKey } from "../client/index.js";
import { banner } from "../components/basics.js";
import { draftOf, forgetDraft, keepDraft } from "../data/drafts.js";
import { errorText, problemsOf } from "../data/errors.js";
import * as format from "../format/values.js";
import { ConversationPicker } from "../panels/conversation-picker.js";
import { DataSource } from "../panels/data-source.js";
import { EvaluatorPicker } from "../panels/evaluator-picker.js";
import { judgeFields } from "../panels/judge-fields.js";
import { noCaps, spendingParams } from "../panels/spending-fields.js";
import { submitBar } from "../panels/submit-bar.js";
import { address } from "../shell/root.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const DRAFT = "evaluation";
const PREVIEW_DELAY_MS = 250; // after the last change
const NAME_MOST = 200; // characters

/**
 * @param {import("../app.js").App} app
 * @param {{ query: URLSearchParams, signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function newEvaluation(app, { query, signal }) {
  const data = new DataSource(app, signal, () => onChange());
  /** @type {ConversationPicker | null} of the chosen dataset */
  let picker = null;
  /** @type {import("../client/index.js").App[]} */
  let apps = [];
  /** @type {import("../client/index.js").Provider[]} */
  let providers = [];
  const form = {
    name: "",
    app_id: "",
    scope: /** @type {"all" | "sample" | "ids"} */ ("all"),
    sample: 20,
    provider: "",
    model: "",
    concurrency: 8,
    temperature: 0.1,
    /** @type {number | null} null: the default */
    max_output_tokens: null,
    model_settings: "",
    ...noCaps(),
  };
  const evaluators = new EvaluatorPicker(app, signal, () => onChange());
  /** @type {import("../client/index.js").Preview | null} */
  let preview = null;
  /** @type {unknown} */
  let formError = null;
  /** The app of a job that names none; empty: not known yet. */
  let usualApp = "";
  let isSubmitting = false;
  /** What was sent, and its key: sent again after an error, it is the same job. */
  let submission = { sent: "", idempotencyKey: "" };
  let previewNumber = 0;
  let previewController = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  const load = async () => {
    [apps, providers] = await Promise.all([
      app.api.apps.list(),
      app.api.providers(),
      evaluators.load(""),
    ]);
    const ready = providers.find((each) => each.ready);
    if (!form.provider) {
      form.provider = ready?.name ?? providers[0]?.name ?? "";
      form.model = ready?.model ?? "";
    }
    app.refresh();
  };
  void app.attempt(load, signal);
  const datasetId = query.get("dataset");
  const draft = datasetId ? null : draftOf(DRAFT);
  if (draft) restore(draft);
  if (datasetId) {
    void app.attempt(async () => data.choose(await app.api.datasets.get(datasetId)), signal);
  }

  /**
   * @param {{
   *   form: typeof form, switched: string[], datasetId: string | null, bundled: number
   * }} draft
   */
  function restore({ form: typed, switched, datasetId: id, bundled }) {
    Object.assign(form, typed);
    for (const name of switched) evaluators.switched.add(name);
    if (bundled) data.takeBundled(bundled);
    else if (id) {
      app.api.datasets.get(id).then(
        (dataset) => {
          if (!data.isReady && !data.file && !signal.aborted) data.choose(dataset);
        },
        () => {}, // it was removed, or can't be had now: the form is shown without it
      );
    }
  }

  function keep() {
    keepDraft(DRAFT, {
      form,
      switched: [...evaluators.switched],
      datasetId: data.dataset?.id ?? null,
      bundled: data.isBundled ? data.bundledCount : 0,
    });
  }

  /** The job's params. */
  function params() {
    return {
      ...data.params(),
      ...(form.app_id ? { app_id: form.app_id } : {}),
      ...(name() ? { name: name() } : {}),
      ...(form.scope === "sample" && !data.isBundled ? { sample_size: form.sample } : {}),
      ...(form.scope === "ids" && picker?.chosen.size ? { thread_ids: [...picker.chosen] } : {}),
      ...evaluators.params(),
      ...(form.provider ? { llm_provider: form.provider } : {}),
      ...(form.model.trim() ? { llm_model: form.model.trim() } : {}),
      concurrency: form.concurrency,
      temperature: form.temperature,
      ...(form.max_output_tokens ? { max_output_tokens: form.max_output_tokens } : {}),
      ...(form.model_settings.trim() ? { model_settings: settings() } : {}),
      ...spendingParams(form),
    };
  }

  /** What the evaluation is called: without a name, after its dataset and its app. */
  function name() {
    const usual = [data.dataset?.name, form.app_id || usualApp].filter(Boolean).join(", ");
    return (form.name.trim() || (data.dataset ? usual : "")).slice(0, NAME_MOST);
  }

  /** The settings of the model as JSON; text that is none goes as it is, and is refused. */
  function settings() {
    try {
      return JSON.parse(form.model_settings);
    } catch {
      return form.model_settings;
    }
  }

  /** Request a new preview after a change. */
  function onChange() {
    clearTimeout(timer);
    if ((picker?.dataset ?? null) !== data.dataset) {
      preview = null;
      usualApp = ""; // it may be another one now
      picker = data.dataset && new ConversationPicker(app, data.dataset, signal, () => onChange());
    }
    if (data.isReady && !isNoneChosen()) timer = setTimeout(loadPreview, PREVIEW_DELAY_MS);
    else forgetPreview();
    if (data.isReady) keep();
    else forgetDraft(DRAFT);
    app.refresh();
  }
  signal.addEventListener("abort", () => clearTimeout(timer));

  /** Whether conversations are to be chosen one by one, and none is yet. */
  function isNoneChosen() {
    return form.scope === "ids" && !data.isBundled && !picker?.chosen.size;
  }

  function forgetPreview() {
    previewNumber += 1; // one that is being loaded is not shown either
    previewController.abort();
    preview = null;
    formError = null;
  }

  async function loadPreview() {
    const number = ++previewNumber;
    previewController.abort();
    previewController = new AbortController();
    try {
      const appId = form.app_id || usualApp;
      if (evaluators.appId !== appId) await evaluators.load(appId);
      const loaded = await app.api.runs.preview(params(), {
        signal: AbortSignal.any([signal, previewController.signal]),
      });
      if (number !== previewNumber || signal.aborted) return;
      if (!form.app_id && loaded.app_id && loaded.app_id !== usualApp) {
        usualApp = loaded.app_id;
        onChange(); // its evaluators belong to the job
        return;
      }
      preview = loaded;
      formError = null;
    } catch (error) {
      if (number !== previewNumber || signal.aborted) return;
      preview = null;
      formError = app.reportError(error);
    }
    app.refresh();
  }

  async function submit() {
    if (isSubmitting) return;
    isSubmitting = true;
    app.refresh();
    try {
      const sent = params();
      const text = JSON.stringify(sent);
      if (text !== submission.sent) submission = { sent: text, idempotencyKey: randomKey() };
      const { idempotencyKey } = submission;
      const job = await app.api.jobs.submit("evaluate-batch", sent, { idempotencyKey });
      app.submittedJobs.add(job.id);
      forgetDraft(DRAFT);
      if (signal.aborted) app.toast(`Submitted: ${job.name || job.job_type}`);
      else app.go(job.run_id ? `/runs/${job.run_id}` : `/jobs/${job.id}`);
    } catch (error) {
      if (signal.aborted) app.toast(errorText(error), "failed");
      formError = app.reportError(error);
      isSubmitting = false;
      app.refresh();
    }
  }

  /** @param {keyof typeof form} key */
  function set(key) {
    return (/** @type {Event} */ event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      const value =
        input.type === "checkbox"
          ? input.checked
          : input.type === "number" || input.type === "range"
            ? Number(input.value)
            : input.value;
      Object.assign(form, { [key]: value });
      if (key === "app_id") preview = null;
      if (key === "provider") {
        form.model = providers.find(({ name }) => name === value)?.model ?? "";
      }
      onChange();
    };
  }

  /** The problems of some fields. @param {...string} names of params */
  function fieldErrors(...names) {
    const problems = problemsOf(formError).filter(({ loc }) =>
      names.includes(String(loc[2] ?? loc[1])),
    );
    return problems.length
      ? html`<span class="wrong" role="alert">${problems.map(({ msg }) => msg).join(" ")}</span>`
      : nothing;
  }

  return {
    title: "New evaluation",
    resume: () => {
      if (!apps.length) void app.attempt(load, signal);
      onChange();
    },
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>New evaluation</h1>
            <p class="quiet small">
              Choose conversations and evaluators, check the number of LLM calls, and start.
            </p>
          </div>
          <a class="button" href=${address("/new-test")}>Test a chatbot instead</a>
        </div>
        ${
          app.session?.right === "read"
            ? banner(
                "cancelled",
                "Not allowed with this token",
                "This token may read results, but not start evaluations.",
              )
            : formFields()
        }`,
  };

  function formFields() {
    return html`<div class="stack">
      ${data.render()}
      ${
        data.isReady
          ? html`<div class="grid">
              ${scopeFields()}${evaluatorFields()}${judgeFields({ form, providers, set, fieldErrors })}
            </div>`
          : nothing
      }
      ${
        formError
          ? banner("failed", "The evaluation can't be started", errorText(formError))
          : nothing
      }
      ${
        data.isReady
          ? submitBar({
              preview,
              isBatched: form.mode === "economy",
              isWrong: formError !== null,
              isNoneChosen: isNoneChosen(),
              isSubmitting,
              onSubmit: submit,
            })
          : nothing
      }
    </div>`;
  }

  function scopeFields() {
    const total = data.dataset?.threads;
    return html`<fieldset class="card stack-tight">
      <legend>Which conversations</legend>
      ${
        data.isBundled
          ? html`<p>${format.plural(data.bundledCount, "bundled conversation")}</p>`
          : html`${scopeOption("all", html`All ${total == null ? "" : format.count(total)}`)}
            ${scopeOption("sample", "A sample: the same one each time")}
            ${
              form.scope === "sample"
                ? html`<label class="field"
                    ><span>How many</span
                    ><input
                      type="number"
                      min="1"
                      max=${total ?? nothing}
                      value=${form.sample}
                      @input=${set("sample")}
                  /></label>`
                : nothing
            }
            ${scopeOption("ids", "Some, chosen one by one")}
            ${form.scope === "ids" && picker ? picker.render() : nothing}
            ${
              preview?.unknown_thread_ids.length
                ? html`<p class="wrong" role="alert">
                    Not in the data: ${preview.unknown_thread_ids.slice(0, 10).join(", ")}
                  </p>`
                : nothing
            }
            ${fieldErrors("thread_ids", "sample_size")}`
      }
      <label class="field"
        ><span>Name of the evaluation</span
        ><input
          maxlength=${NAME_MOST}
          placeholder=${name() || "optional"}
          .value=${form.name}
          @input=${set("name")}
      /></label>
    </fieldset>`;
  }

  /** @param {"all" | "sample" | "ids"} value @param {unknown} text */
  function scopeOption(value, text) {
    return html`<label class="choice"
      ><input
        type="radio"
        name="scope"
        .checked=${form.scope === value}
        @change=${() => {
          form.scope = value;
          onChange();
        }}
      /><span>${text}</span></label
    >`;
  }

  function evaluatorFields() {
    return html`<fieldset class="card stack-tight">
      <legend>Evaluators</legend>
      <label class="field"
        ><span>The bot</span
        ><select @change=${set("app_id")}>
          <option value="" ?selected=${form.app_id === ""}>
            The usual app${!form.app_id && preview?.app_id ? `: ${preview.app_id}` : ""}
          </option>
          ${apps.map(
            (each) =>
              html`<option value=${each.app_id} ?selected=${form.app_id === each.app_id}>
                ${each.name} (${each.app_id},
                ${each.owner ? `of ${each.owner}, version ${each.version}` : "shipped"})
              </option>`,
          )}
        </select></label
      >
      ${fieldErrors("app_id")}
      ${preview?.misfits.map(({ message, refused }) =>
        refused
          ? html`<p class="wrong" role="alert">${message}</p>`
          : html`<p class="banner tone-warn" role="alert">${message}</p>`,
      )}
      ${evaluators.render(preview?.llm_calls?.evaluators ?? {})} ${fieldErrors("evaluators")}
    </fieldset>`;
  }
}
