// The form for an app's document. What it has no field for stays as it is in the document.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { HEAD, SECTIONS } from "./app-sections.js";

/** @typedef {import("../data/errors.js").Problem} Problem */
/** @typedef {import("./app-sections.js").Document} Document */
/** @typedef {import("./app-sections.js").Field} Field */

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
      change: (path, value) => {
        if (field.restart) change(at, field.restart(valueAt(document, at), value));
        else change(path, value);
      },
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
          ${problemsAt(problems, [section.key], true)}
          ${parts.map((/** @type {Document} */ part, /** @type {number} */ i) => {
            const name = part.name || part.rule_id || part.use || `${section.item} ${i + 1}`;
            return html`<fieldset class="part stack-tight">
              <legend>${name}</legend>
              <div class="grid">
                ${section.fields
                  .filter(({ isShown }) => !isShown || isShown(part))
                  .map((each) => field(each, [section.key, i]))}
              </div>
              ${problemsAt(problems, [section.key, i], true)}
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
              @click=${(/** @type {Event} */ { currentTarget }) => {
                change([section.key], [...parts, structuredClone(section.fresh)]);
                focusLast(/** @type {HTMLElement} */ (currentTarget));
              }}
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

/** Focus the first field of the part that was added. @param {HTMLElement} button */
function focusLast(button) {
  const part = [...(button.closest("details")?.querySelectorAll("fieldset.part") ?? [])].at(-1);
  part?.querySelector("input")?.focus();
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
function problemsAt(problems, path, isExact = false) {
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
    const typed = kind === "check" ? element.checked : read(kind, element.value, value);
    change(path, field.isOptional && typed === "" ? undefined : typed);
  };
  const errors = problemsAt(problems, path);
  if (kind === "check") {
    return html`<label class="choice"
      ><input type="checkbox" .checked=${(value ?? field.usual) === true} @change=${onInput} /><span
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
