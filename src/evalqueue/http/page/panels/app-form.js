// The form for an app's document. What it has no field for stays as it is in the document.

import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../data/errors.js").Problem} Problem */
/** @typedef {Record<string, any>} Document JSON */

/**
 * @typedef {object} Field
 * @property {string[]} path in its part of the document
 * @property {string} title
 * @property {"line" | "text" | "words" | "lines" | "check" | "number"} [kind]
 * @property {string[]} [choices]
 * @property {string} [hint]
 * @property {(part: Document) => boolean} [isShown]
 */

/**
 * @typedef {object} Section
 * @property {string} key in the document
 * @property {string} title
 * @property {string} item what a part is called
 * @property {string} hint
 * @property {Document} fresh a new part
 * @property {Field[]} fields
 */

/** @type {Field[]} */
const HEAD = [
  { path: ["app_id"], title: "Id", hint: "What jobs call it." },
  { path: ["name"], title: "Name" },
  {
    path: ["about"],
    title: "What the bot is for",
    kind: "text",
    hint: "Judges read it: who uses the bot, what it can and must not do, what is ideal.",
  },
];

/** @param {Document} part */
const isOwn = (part) => !("use" in part);
/** @param {string} kind */
const isOf = (kind) => (/** @type {Document} */ part) => isOwn(part) && part.output?.kind === kind;

/** @type {Section[]} */
const SECTIONS = [
  {
    key: "intents",
    title: "Intents",
    item: "intent",
    hint: "The labels of the bot's router, spelt as in the data.",
    fresh: { name: "", description: "" },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["description"], title: "When a message belongs here" },
      { path: ["examples"], title: "Examples, one a line", kind: "lines" },
    ],
  },
  {
    key: "query_types",
    title: "Kinds of messages",
    item: "kind",
    hint: "What kind of request a message is.",
    fresh: { name: "", description: "" },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["description"], title: "Description" },
    ],
  },
  {
    key: "thread_types",
    title: "Kinds of conversations",
    item: "kind of conversation",
    hint: "Efficiency is judged only where it applies.",
    fresh: { name: "", description: "", has_efficiency: true },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["description"], title: "Description" },
      { path: ["has_efficiency"], title: "Efficiency is judged", kind: "check" },
    ],
  },
  {
    key: "rules",
    title: "Rules",
    item: "rule",
    hint: "What the bot has to do. The scopes say which evaluators ask.",
    fresh: { rule_id: "", section: "", text: "", scopes: ["efficiency"] },
    fields: [
      { path: ["rule_id"], title: "Id" },
      { path: ["section"], title: "Section" },
      { path: ["text"], title: "Rule", kind: "text" },
      {
        path: ["scopes"],
        title: "Scopes",
        kind: "words",
        hint: "efficiency, correctness, adversarial, or names of evaluators",
      },
    ],
  },
  {
    key: "knowledge",
    title: "Knowledge",
    item: "text",
    hint: "What answers have to agree with.",
    fresh: { name: "", text: "" },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["text"], title: "Text", kind: "text" },
    ],
  },
  {
    key: "evaluators",
    title: "Evaluators of its own",
    item: "evaluator",
    hint: "Criteria that a judge is asked about each turn or conversation.",
    fresh: {
      name: "",
      scope: "conversation",
      prompt: "{{transcript}}",
      output: { kind: "category", labels: ["YES", "NO"], good: ["YES"], bad: ["NO"] },
    },
    fields: [
      { path: ["use"], title: "Of the catalogue", isShown: (part) => !isOwn(part) },
      { path: ["name"], title: "Name", isShown: isOwn },
      {
        path: ["scope"],
        title: "Judges each",
        choices: ["conversation", "turn"],
        isShown: isOwn,
      },
      {
        path: ["prompt"],
        title: "Criterion",
        kind: "text",
        hint: "Filled in: {{transcript}}; of a turn {{question}}, {{answer}}.",
        isShown: isOwn,
      },
      {
        path: ["output", "kind"],
        title: "Answer",
        choices: ["category", "boolean", "number"],
        isShown: isOwn,
      },
      {
        path: ["output", "labels"],
        title: "Labels, one a line",
        kind: "lines",
        isShown: isOf("category"),
      },
      { path: ["output", "good"], title: "Good labels", kind: "words", isShown: isOf("category") },
      {
        path: ["output", "bad"],
        title: "Bad labels, the worst first",
        kind: "words",
        isShown: isOf("category"),
      },
      { path: ["output", "minimum"], title: "From", kind: "number", isShown: isOf("number") },
      { path: ["output", "maximum"], title: "To", kind: "number", isShown: isOf("number") },
    ],
  },
];

/**
 * @param {object} options
 * @param {Document} options.document
 * @param {Problem[]} options.problems
 * @param {(document: Document) => void} options.onChange
 */
export function appForm({ document, problems, onChange }) {
  /** @param {(string | number)[]} path @param {unknown} value */
  const change = (path, value) => onChange(changed(document, path, value));
  /** @param {Field} field @param {(string | number)[]} at */
  const field = (field, at) =>
    input({
      field,
      path: [...at, ...field.path],
      value: valueAt(document, [...at, ...field.path]),
      problems,
      change,
    });

  return html`<fieldset class="card stack-tight">
      <legend>The bot</legend>
      ${HEAD.map((each) => field(each, []))}
    </fieldset>
    ${SECTIONS.map((section) => {
      const parts = Array.isArray(document[section.key]) ? document[section.key] : [];
      return html`<details class="card" ?open=${parts.length > 0}>
        <summary>${section.title} <span class="quiet">${parts.length}</span></summary>
        <div class="stack">
          <p class="hint">${section.hint}</p>
          ${said(problems, [section.key], true)}
          ${parts.map((/** @type {Document} */ part, /** @type {number} */ i) => {
            const name = part.name || part.rule_id || part.use || `${section.item} ${i + 1}`;
            return html`<fieldset class="part stack-tight">
              <legend>${name}</legend>
              <div class="grid">
                ${section.fields
                  .filter(({ isShown }) => !isShown || isShown(part))
                  .map((each) => field(each, [section.key, i]))}
              </div>
              ${said(problems, [section.key, i], true)}
              <p>
                <button
                  type="button"
                  class="tiny danger"
                  @click=${() =>
                    change(
                      [section.key],
                      parts.filter((/** @type {unknown} */ _, /** @type {number} */ n) => n !== i),
                    )}
                >
                  Remove<span class="visually-hidden"> ${name}</span>
                </button>
              </p>
            </fieldset>`;
          })}
          <p>
            <button
              type="button"
              @click=${() => change([section.key], [...parts, structuredClone(section.fresh)])}
            >
              Add ${section.item === "intent" || section.item === "evaluator" ? "an" : "a"}
              ${section.item}
            </button>
          </p>
        </div>
      </details>`;
    })}
    ${elsewhere(problems)}`;
}

/** Problems of parts that have no field here. @param {Problem[]} problems */
function elsewhere(problems) {
  const known = new Set([...HEAD.map(({ path }) => path[0]), ...SECTIONS.map(({ key }) => key)]);
  const others = problems.filter(({ loc }) => !known.has(String(loc[2])));
  return others.map(
    ({ loc, msg }) =>
      html`<p class="wrong" role="alert">
        ${loc.length > 2 ? html`<code>${loc.slice(2).join(".")}</code> ` : nothing}${msg}
      </p>`,
  );
}

/**
 * The problems at a path, or inside of it.
 * @param {Problem[]} problems @param {(string | number)[]} path
 * @param {boolean} [isExact] not those inside
 */
function said(problems, path, isExact = false) {
  const found = problems.filter(({ loc }) => {
    const inside = loc.slice(2);
    return (
      (isExact ? inside.length === path.length : inside.length >= path.length) &&
      path.every((part, i) => String(part) === String(inside[i]))
    );
  });
  return found.length
    ? html`<span class="wrong" role="alert">${found.map(({ msg }) => msg).join(" ")}</span>`
    : nothing;
}

/**
 * @param {object} options
 * @param {Field} options.field
 * @param {(string | number)[]} options.path
 * @param {any} options.value
 * @param {Problem[]} options.problems
 * @param {(path: (string | number)[], value: unknown) => void} options.change
 */
function input({ field, path, value, problems, change }) {
  const { kind = "line", title, hint, choices } = field;
  const text = shown(kind, value);
  const onInput = (/** @type {Event} */ { target }) => {
    const element = /** @type {HTMLInputElement} */ (target);
    change(path, kind === "check" ? element.checked : read(kind, element.value, value));
  };
  const errors = said(problems, path);
  if (kind === "check") {
    return html`<label class="choice"
      ><input type="checkbox" .checked=${value === true} @change=${onInput} /><span
        >${title}</span
      ></label
    >`;
  }
  return html`<label class="field ${kind === "text" ? "wide" : ""}"
    ><span>${title}</span>${
      choices
        ? html`<select @change=${onInput}>
            ${choices.map(
              (each) => html`<option value=${each} ?selected=${text === each}>${each}</option>`,
            )}
          </select>`
        : kind === "text" || kind === "lines"
          ? html`<textarea
              rows=${kind === "text" ? 4 : 3}
              .value=${text}
              aria-invalid=${errors === nothing ? "false" : "true"}
              @input=${onInput}
            ></textarea>`
          : html`<input
              type=${kind === "number" ? "number" : "text"}
              step="any"
              .value=${text}
              aria-invalid=${errors === nothing ? "false" : "true"}
              @input=${onInput}
            />`
    }${hint ? html`<span class="hint">${hint}</span>` : nothing}${errors}</label
  >`;
}

/** A value as its field shows it. @param {string} kind @param {any} value */
function shown(kind, value) {
  const names = Array.isArray(value)
    ? value.map((each) => (typeof each === "object" && each ? each.name : String(each)))
    : [];
  if (kind === "words") return names.join(", ");
  if (kind === "lines") return names.join("\n");
  return value == null ? "" : String(value);
}

/**
 * What was typed, as JSON. Labels keep their descriptions.
 * @param {string} kind @param {string} text @param {any} before
 */
function read(kind, text, before) {
  if (kind === "number") return text === "" ? undefined : Number(text);
  if (kind !== "words" && kind !== "lines") return text;
  const separator = kind === "words" ? "," : "\n";
  const names = text.split(separator).map((each) => (kind === "words" ? each.trim() : each));
  const described = Array.isArray(before) ? before : [];
  return names.map((name) => described.find((each) => each?.name === name) ?? name);
}

/** @param {any} value @param {(string | number)[]} path */
function valueAt(value, path) {
  return path.reduce((inner, part) => inner?.[part], value);
}

/**
 * A copy with another value at a path; undefined removes the key.
 * @param {any} value @param {(string | number)[]} path @param {unknown} fresh
 * @returns {any}
 */
function changed(value, path, fresh) {
  const [first, ...rest] = path;
  if (first === undefined) return fresh;
  const copy = Array.isArray(value) ? [...value] : { ...(value ?? {}) };
  copy[first] = changed(copy[first], rest, fresh);
  if (copy[first] === undefined) delete copy[first];
  return copy;
}

/**
 * The document without what was left empty in lists of words and lines.
 * @param {any} value @returns {any}
 */
export function tidy(value) {
  if (Array.isArray(value)) return value.filter((each) => each !== "").map(tidy);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, tidy(each)]));
  }
  return value;
}
