// The form for a new adversarial test: the chatbot, its users and the judge. Before the test starts, a
// worker has to reach the chatbot.

import { randomKey } from "../client/index.js";
import { banner } from "../components/basics.js";
import { draftOf, forgetDraft, keepDraft } from "../data/drafts.js";
import { errorText } from "../data/errors.js";
import { ChatbotCheck } from "../panels/chatbot-check.js";
import { modelFields } from "../panels/judge-fields.js";
import { address } from "../shell/root.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const DRAFT = "test";
const PROTOCOLS = ["kaira_v1", "kaira_v2", "openai", "webhook"];
/** The names of an app that a test can choose from: the param, its title, and what is meant. */
const LISTS = /** @type {const} */ ([
  ["goals", "Goals", "what users want"],
  ["traits", "Traits", "how they are difficult"],
  ["personas", "Personas", "who they are"],
  ["tactics", "Tactics", "of attackers"],
]);

/**
 * @param {import("../app.js").App} app
 * @param {{ signal: AbortSignal }} route
 * @returns {import("../app.js").View}
 */
export default function newTest(app, { signal }) {
  /** @type {import("../client/index.js").App[]} */
  let apps = [];
  /** @type {import("../client/index.js").Provider[]} */
  let providers = [];
  /** @type {import("../client/index.js").AdversarialApp | null} the users of the chosen app */
  let users = null;
  /** @type {unknown} */
  let usersError = null;
  const form = {
    name: "",
    app_id: "",
    protocol: "",
    url: "",
    bot_model: "",
    credentials: "",
    test_count: 15,
    trials: 1,
    max_turns: 10,
    saved: "pinned",
    extra_instructions: "",
    /** @type {Record<string, string[]>} names, by param */
    chosen: {},
    provider: "",
    model: "",
    max_cost: "",
  };
  const check = new ChatbotCheck(app, signal);
  /** @type {unknown} */
  let formError = null;
  let isSubmitting = false;
  /** What was sent, and its key: sent again after an error, it is the same job. */
  let submission = { sent: "", idempotencyKey: "" };

  Object.assign(form, draftOf(DRAFT) ?? {});
  void app.attempt(load, signal);

  async function load() {
    [apps, providers] = await Promise.all([app.api.apps.list({ signal }), app.api.providers()]);
    const ready = providers.find((each) => each.ready);
    if (!form.provider) {
      form.provider = ready?.name ?? providers[0]?.name ?? "";
      form.model = ready?.model ?? "";
    }
    await loadUsers();
  }

  async function loadUsers() {
    const appId = form.app_id;
    users = null;
    usersError = null;
    try {
      const loaded = appId ? await app.api.adversarial.app(appId, { signal }) : null;
      if (appId === form.app_id) users = loaded;
    } catch (error) {
      if (signal.aborted || appId !== form.app_id) return;
      usersError = app.reportError(error);
    }
    app.refresh();
  }

  /** The chatbot, as the check and the test take it. */
  function target() {
    const credentials = form.credentials.split(/[\s,]+/).filter(Boolean);
    return {
      ...(form.app_id ? { app_id: form.app_id } : {}),
      chatbot: {
        ...(form.protocol ? { protocol: form.protocol } : {}),
        ...(form.url.trim() ? { url: form.url.trim() } : {}),
        ...(form.bot_model.trim() ? { model: form.bot_model.trim() } : {}),
        credentials,
      },
    };
  }

  function params() {
    const names = LISTS.flatMap(([key]) => {
      const chosen = form.chosen[key] ?? [];
      return chosen.length ? [[key, chosen]] : [];
    });
    return {
      ...target(),
      ...(form.name.trim() ? { name: form.name.trim() } : {}),
      test_count: form.test_count,
      trials: form.trials,
      max_turns: form.max_turns,
      saved: form.saved,
      ...(form.extra_instructions.trim() ? { extra_instructions: form.extra_instructions } : {}),
      ...Object.fromEntries(names),
      ...(form.provider ? { llm_provider: form.provider } : {}),
      ...(form.model.trim() ? { llm_model: form.model.trim() } : {}),
      ...(form.max_cost.trim() ? { max_cost: form.max_cost.trim() } : {}),
    };
  }

  /** @param {string} key of the form */
  function set(key) {
    return (/** @type {Event} */ event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      const value = input.type === "number" ? Number(input.value) : input.value;
      Object.assign(form, { [key]: value });
      if (key === "provider") {
        form.model = providers.find(({ name }) => name === value)?.model ?? "";
      }
      if (key === "app_id") {
        form.chosen = {};
        void loadUsers();
      }
      onChange();
    };
  }

  function onChange() {
    formError = null;
    if (check.checked && check.checked !== JSON.stringify(target())) check.forget();
    keepDraft(DRAFT, form);
    app.refresh();
  }

  /** Start the test once a worker has reached the chatbot. */
  async function start() {
    formError = null;
    const text = JSON.stringify(params());
    if (!check.isReached(target()) && !(await check.start(target()))) return;
    if (!signal.aborted && text === JSON.stringify(params())) await submit();
  }

  function startUnchecked() {
    check.forget();
    formError = null;
    void submit();
  }

  async function submit() {
    if (isSubmitting) return;
    isSubmitting = true;
    app.refresh();
    const sent = params();
    const text = JSON.stringify(sent);
    if (text !== submission.sent) submission = { sent: text, idempotencyKey: randomKey() };
    const { idempotencyKey } = submission;
    try {
      const job = await app.api.jobs.submit("evaluate-adversarial", sent, { idempotencyKey });
      app.submittedJobs.add(job.id);
      forgetDraft(DRAFT);
      if (!signal.aborted) app.go(job.run_id ? `/runs/${job.run_id}` : `/jobs/${job.id}`);
    } catch (error) {
      if (signal.aborted) app.toast(errorText(error), "failed");
      formError = app.reportError(error);
    }
    isSubmitting = false;
    app.refresh();
  }

  return {
    title: "New adversarial test",
    resume: () => void app.attempt(load, signal),
    render: () =>
      html`<div class="page-head">
          <div>
            <h1>New adversarial test</h1>
            <p class="quiet small">
              An LLM plays difficult users against a live chatbot, and a judge reads the
              conversations.
            </p>
          </div>
          <a class="button" href=${address("/new")}>Evaluate conversations instead</a>
        </div>
        ${
          app.session?.right === "read"
            ? banner(
                "cancelled",
                "Not allowed with this token",
                "This token may read results, but not start tests.",
              )
            : html`<div class="stack">
                <div class="grid">
                  ${chatbotFields()}${caseFields()}${modelFields({
                    form,
                    providers,
                    set,
                    more: textField("max_cost", "Most that it may cost, in US dollars", "no cap"),
                  })}
                </div>
                ${
                  formError
                    ? banner("failed", "The test can't be started", errorText(formError))
                    : nothing
                }
                ${startBar()}
              </div>`
        }`,
  };

  function chatbotFields() {
    const usual = users?.protocol;
    return html`<fieldset class="card stack-tight">
      <legend>The chatbot</legend>
      <label class="field"
        ><span>App</span
        ><select @change=${set("app_id")}>
          <option value="" ?selected=${!form.app_id}>The usual app</option>
          ${apps.map(
            ({ app_id, name }) =>
              html`<option value=${app_id} ?selected=${form.app_id === app_id}>
                ${name} (${app_id})
              </option>`,
          )}
        </select></label
      >
      ${usersError ? html`<p class="wrong" role="alert">${errorText(usersError)}</p>` : nothing}
      ${textField("url", "Address", "EVALQUEUE_CHATBOT_URL of the workers")}
      <label class="field"
        ><span>Protocol</span
        ><select @change=${set("protocol")}>
          <option value="" ?selected=${!form.protocol}>
            The app's${usual ? `: ${usual}` : ""}
          </option>
          ${PROTOCOLS.map(
            (each) =>
              html`<option value=${each} ?selected=${form.protocol === each}>${each}</option>`,
          )}
        </select></label
      >
      ${form.protocol === "openai" ? textField("bot_model", "Model of the chatbot", "") : nothing}
      ${textField(
        "credentials",
        "Credentials, by their names in EVALQUEUE_CHATBOT_CREDENTIALS",
        "none",
      )}
      <p>
        <button
          type="button"
          ?disabled=${isSubmitting || check.isUnderWay}
          @click=${() => check.start(target())}
        >
          Check that a worker reaches it
        </button>
      </p>
      ${check.render(target())}
    </fieldset>`;
  }

  function caseFields() {
    return html`<fieldset class="card stack-tight">
      <legend>Cases</legend>
      ${textField("name", "Name of the test", "optional")}
      <div class="grid narrow">
        ${numberField("test_count", "Generated cases", 0, 1000)}
        ${numberField("trials", "Trials of each", 1, 20)}
        ${numberField("max_turns", "Turns per goal", 1, 30)}
      </div>
      <label class="field"
        ><span>Saved cases</span
        ><select @change=${set("saved")}>
          ${[
            ["pinned", "Pinned ones"],
            ["all", "All"],
            ["none", "None"],
          ].map(
            ([value, text]) =>
              html`<option value=${value} ?selected=${form.saved === value}>${text}</option>`,
          )}
        </select></label
      >
      <label class="field"
        ><span>More instructions for generating cases</span
        ><textarea
          rows="2"
          maxlength="5000"
          .value=${form.extra_instructions}
          @input=${set("extra_instructions")}
        ></textarea>
      </label>
      ${users ? LISTS.map(([key, title, about]) => names(key, title, about)) : nothing}
    </fieldset>`;
  }

  /** @param {(typeof LISTS)[number][0]} key @param {string} title @param {string} about */
  function names(key, title, about) {
    const known = /** @type {any[]} */ (users?.[key] ?? [])
      .filter((each) => each.is_permitted !== false)
      .map((each) => /** @type {string} */ (each.goal_id ?? each.name));
    if (!known.length) return nothing;
    const chosen = form.chosen[key] ?? [];
    return html`<details ?open=${chosen.length > 0}>
      <summary>
        ${title} <span class="quiet small">${about}: ${chosen.length || "the usual"}</span>
      </summary>
      <div class="row" role="group" aria-label=${title}>
        ${known.map(
          (name) =>
            html`<label class="choice"
              ><input
                type="checkbox"
                .checked=${chosen.includes(name)}
                @change=${() => {
                  form.chosen[key] = chosen.includes(name)
                    ? chosen.filter((each) => each !== name)
                    : [...chosen, name];
                  onChange();
                }}
              /><span>${name.replaceAll("_", " ")}</span></label
            >`,
        )}
      </div>
    </details>`;
  }

  /** @param {string} key @param {string} title @param {string} placeholder */
  function textField(key, title, placeholder) {
    return html`<label class="field"
      ><span>${title}</span
      ><input
        spellcheck="false"
        placeholder=${placeholder}
        .value=${/** @type {Record<string, any>} */ (form)[key]}
        @input=${set(key)}
    /></label>`;
  }

  /** @param {string} key @param {string} title @param {number} least @param {number} most */
  function numberField(key, title, least, most) {
    return html`<label class="field"
      ><span>${title}</span
      ><input
        type="number"
        min=${least}
        max=${most}
        .value=${String(/** @type {Record<string, any>} */ (form)[key])}
        @input=${set(key)}
    /></label>`;
  }

  function startBar() {
    const isReached = check.isReached(target());
    return html`<div class="bar-bottom row-wide">
      <p class="quiet">
        ${isReached ? "A worker has reached the chatbot." : "A worker greets the chatbot first."}
      </p>
      <div class="row">
        ${
          check.checked && !isReached
            ? html`<button type="button" ?disabled=${isSubmitting} @click=${startUnchecked}>
                Start without the check
              </button>`
            : nothing
        }
        <button
          type="button"
          class="primary"
          ?disabled=${isSubmitting || check.isUnderWay}
          @click=${start}
        >
          ${isSubmitting ? "Starting …" : check.isUnderWay ? "Checking …" : "Start the test"}
        </button>
      </div>
    </div>`;
  }
}
