// A new evaluation: what is judged, of it how much, by whom; and what that costs, before it starts.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { DataChoice } from "../data.js";
import * as format from "../format.js";
import { banner, errorText, problemsOf } from "../parts.js";
import { ThreadPicker } from "../threads.js";

const EVALUATORS = /** @type {const} */ ([
  [
    "intent",
    "Intent",
    "Did the router send each message to the right agent? One call for each message.",
  ],
  [
    "correctness",
    "Correctness",
    "Are the figures in the bot's answers right? One call for each answer with figures.",
  ],
  [
    "efficiency",
    "Efficiency",
    "Did the user get there without detours? One call for each conversation.",
  ],
]);
const PREVIEW_MS = 250; // after the last change

/**
 * @param {import("../app.js").App} app
 * @param {{ query: URLSearchParams, signal: AbortSignal }} place
 * @returns {import("../app.js").View}
 */
export default function newEvaluation(app, { query, signal }) {
  const data = new DataChoice(app, signal, () => changed());
  /** @type {ThreadPicker | null} of the dataset that is chosen */
  let picker = null;
  /** @type {import("../client/index.js").App[]} */
  let profiles = [];
  /** @type {import("../client/index.js").Provider[]} */
  let providers = [];
  const asked = {
    name: "",
    app_id: "kaira-bot",
    scope: /** @type {"all" | "sample" | "ids"} */ ("all"),
    sample: 20,
    intent: true,
    correctness: true,
    efficiency: true,
    provider: "",
    model: "",
    concurrency: 8,
    temperature: 0.1,
  };
  /** @type {import("../client/index.js").Preview | null} */
  let preview = null;
  /** @type {unknown} */
  let broken = null;
  let isSubmitting = false;
  let looking = 0;
  let asking = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  void app.attempt(async () => {
    [profiles, providers] = await Promise.all([app.api.apps(), app.api.providers()]);
    const ready = providers.find((each) => each.ready);
    asked.provider = ready?.name ?? providers[0]?.name ?? "";
    asked.model = ready?.model ?? "";
    if (!profiles.some(({ app_id: id }) => id === asked.app_id))
      asked.app_id = profiles[0]?.app_id ?? "";
    app.refresh();
  }, signal);
  const named = query.get("dataset");
  if (named) void app.attempt(async () => data.take(await app.api.datasets.get(named)), signal);

  /** What the form says, as the job's params. */
  function params() {
    return {
      ...data.source(),
      app_id: asked.app_id,
      ...(asked.name.trim() ? { name: asked.name.trim() } : {}),
      ...(asked.scope === "sample" && !data.isSample ? { sample_size: asked.sample } : {}),
      ...(asked.scope === "ids" && picker?.chosen.size ? { thread_ids: [...picker.chosen] } : {}),
      evaluate_intent: asked.intent,
      evaluate_correctness: asked.correctness,
      evaluate_efficiency: asked.efficiency,
      ...(asked.provider ? { llm_provider: asked.provider } : {}),
      ...(asked.model.trim() ? { llm_model: asked.model.trim() } : {}),
      concurrency: asked.concurrency,
      temperature: asked.temperature,
    };
  }

  /** Something was chosen: what it comes to is asked anew. */
  function changed() {
    clearTimeout(timer);
    if (picker?.dataset !== data.dataset) {
      picker = data.dataset && new ThreadPicker(app, data.dataset, signal, () => changed());
    }
    if (data.isReady) timer = setTimeout(look, PREVIEW_MS);
    else preview = null;
    app.refresh();
  }
  signal.addEventListener("abort", () => clearTimeout(timer));

  async function look() {
    const turn = ++looking;
    asking.abort();
    asking = new AbortController();
    try {
      const found = await app.api.runs.preview(params(), {
        signal: AbortSignal.any([signal, asking.signal]),
      });
      if (turn !== looking || signal.aborted) return;
      preview = found;
      broken = null;
    } catch (error) {
      if (turn !== looking || signal.aborted) return;
      preview = null;
      broken = app.noted(error);
    }
    app.refresh();
  }

  async function submit() {
    if (isSubmitting) return;
    isSubmitting = true;
    app.refresh();
    try {
      const job = await app.api.jobs.submit("evaluate-batch", params());
      app.mine.add(job.id);
      if (signal.aborted) app.toast(`Submitted: ${job.name || job.job_type}`);
      else app.go(job.run_id ? `/runs/${job.run_id}` : `/jobs/${job.id}`);
    } catch (error) {
      if (signal.aborted) app.toast(errorText(error), "failed");
      broken = app.noted(error);
      isSubmitting = false;
      app.refresh();
    }
  }

  /** @param {keyof typeof asked} key */
  function set(key) {
    return (/** @type {Event} */ event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      const value =
        input.type === "checkbox"
          ? input.checked
          : input.type === "number" || input.type === "range"
            ? Number(input.value)
            : input.value;
      Object.assign(asked, { [key]: value });
      if (key === "provider")
        asked.model = providers.find(({ name }) => name === value)?.model ?? "";
      changed();
    };
  }

  /** What is wrong with one field. @param {...string} names */
  function wrong(...names) {
    const found = problemsOf(broken).filter(({ loc }) => names.includes(String(loc[2] ?? loc[1])));
    return found.length
      ? html`<span class="wrong" role="alert">${found.map(({ msg }) => msg).join(" ")}</span>`
      : nothing;
  }

  return {
    title: "New evaluation",
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>New evaluation</h1>
            <p class="quiet small">Drop conversations, choose judges, see what it takes, start.</p>
          </div>
        </div>
        ${
          app.session?.right === "read"
            ? banner(
                "cancelled",
                "Not with this token",
                "It may read what others evaluate, and start nothing.",
              )
            : form()
        }`,
  };

  function form() {
    return html`<div class="stack">
      ${data.render()}
      ${data.isReady ? html`<div class="grid">${scope()}${evaluators()}${judge()}</div>` : nothing}
      ${broken ? banner("failed", "It can't be started like this", errorText(broken)) : nothing}
      ${data.isReady ? bar() : nothing}
    </div>`;
  }

  function scope() {
    const total = data.dataset?.threads;
    return html`<fieldset class="card stack-tight">
      <legend>Which conversations</legend>
      ${
        data.isSample
          ? html`<p>${format.plural(data.sample, "bundled conversation")}</p>`
          : html` ${option("all", html`All ${total == null ? "" : format.count(total)}`)}
            ${option("sample", "A sample: the same one each time")}
            ${
              asked.scope === "sample"
                ? html`<label class="field"
                    ><span>How many</span
                    ><input
                      type="number"
                      min="1"
                      max=${total ?? nothing}
                      value=${asked.sample}
                      @input=${set("sample")}
                  /></label>`
                : nothing
            }
            ${option("ids", "Some, chosen one by one")}
            ${asked.scope === "ids" && picker ? picker.render() : nothing}
            ${
              preview?.unknown_thread_ids.length
                ? html`<p class="wrong" role="alert">
                    Not in the data: ${preview.unknown_thread_ids.slice(0, 10).join(", ")}
                  </p>`
                : nothing
            }
            ${wrong("thread_ids", "sample_size")}`
      }
      <label class="field"
        ><span>Name of the evaluation</span
        ><input
          maxlength="200"
          placeholder=${data.dataset?.name ?? "optional"}
          .value=${asked.name}
          @input=${set("name")}
      /></label>
    </fieldset>`;
  }

  /** @param {"all" | "sample" | "ids"} value @param {unknown} label */
  function option(value, label) {
    return html`<label class="choice"
      ><input
        type="radio"
        name="scope"
        .checked=${asked.scope === value}
        @change=${() => {
          asked.scope = value;
          changed();
        }}
      /><span>${label}</span></label
    >`;
  }

  function evaluators() {
    const calls = preview?.llm_calls;
    return html`<fieldset class="card stack-tight">
      <legend>Evaluators</legend>
      <label class="field"
        ><span>The bot</span
        ><select @change=${set("app_id")}>
          ${profiles.map(
            ({ app_id: id, name }) =>
              html`<option value=${id} ?selected=${asked.app_id === id}>${name}</option>`,
          )}
        </select></label
      >
      ${wrong("app_id")}
      ${EVALUATORS.map(
        ([key, label, about]) =>
          html` <label class="choice"
            ><input type="checkbox" .checked=${asked[key]} @change=${set(key)} />
            <span
              ><strong>${label}</strong> ${
                calls && asked[key]
                  ? html`<span class="quiet">${format.plural(calls[key], "call")}</span>`
                  : nothing
              }<br /><span class="hint">${about}</span></span
            ></label
          >`,
      )}
    </fieldset>`;
  }

  function judge() {
    const chosen = providers.find(({ name }) => name === asked.provider);
    return html`<fieldset class="card stack-tight">
      <legend>Judge</legend>
      <label class="field"
        ><span>Provider</span
        ><select @change=${set("provider")}>
          ${providers.map(
            ({ name, ready }) =>
              html`<option value=${name} ?selected=${asked.provider === name}>
                ${name.replaceAll("_", " ")}${ready ? "" : " (not ready)"}
              </option>`,
          )}
        </select></label
      >
      ${chosen && !chosen.ready ? html`<p class="wrong">${chosen.reason}</p>` : nothing}
      ${
        asked.provider === "simulated"
          ? html`<p class="hint">
              Simulated: its answers are gold labels with noise, not judgements.
            </p>`
          : nothing
      }
      ${wrong("llm_provider")}
      <label class="field"
        ><span>Model</span
        ><input placeholder="the provider's default" .value=${asked.model} @input=${set("model")}
      /></label>
      ${wrong("llm_model")}
      <label class="field"
        ><span>LLM calls at once: ${asked.concurrency}</span
        ><input
          type="range"
          min="1"
          max="64"
          .value=${String(asked.concurrency)}
          @input=${set("concurrency")}
      /></label>
      <label class="field"
        ><span>Temperature</span
        ><input
          type="number"
          min="0"
          max="2"
          step="0.1"
          value=${asked.temperature}
          @input=${set("temperature")}
      /></label>
      ${wrong("temperature", "concurrency")}
    </fieldset>`;
  }

  function bar() {
    const calls = preview?.llm_calls;
    return html`<div class="bar-bottom row-wide">
      <p role="status">
        ${
          calls && preview?.chosen
            ? html`<strong id="calls">${format.plural(calls.total, "LLM call")}</strong>
                <span class="quiet"
                  >for ${format.plural(preview.chosen.threads, "conversation")} of
                  ${format.plural(preview.chosen.messages, "message")}, retries aside</span
                >`
            : html`<span class="quiet"
                >${broken ? "Something has to be put right first." : "Counting the calls …"}</span
              >`
        }
      </p>
      <button
        type="button"
        class="primary"
        ?disabled=${!calls?.total || isSubmitting}
        @click=${submit}
      >
        ${isSubmitting ? "Submitting …" : "Start the evaluation"}
      </button>
    </div>`;
  }
}
