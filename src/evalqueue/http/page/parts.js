// The small pieces that every view is made of.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { styles } from "./styles.js";
import * as format from "./format.js";
import { said, tone } from "./verdicts.js";

/** @typedef {import("./vendor/lit-html/lit-html.js").TemplateResult} Template */

/** @param {string | null | undefined} word @param {string} [absent] @param {string} [title] */
export function badge(word, absent, title) {
  return html`<span class="badge tone-${tone(word)}" title=${title ?? nothing}
    >${said(word, absent)}</span
  >`;
}

/**
 * A bar with what is said under it.
 * @param {{ current: number, total: number, status: string, rate?: number | null, eta?: number | null, label: string }} how
 */
export function progress({ current, total, status, rate, eta, label }) {
  const isKnown = total > 0;
  const share = isKnown ? Math.min(1, current / total) : status === "completed" ? 1 : 0;
  const waits = status === "running" && !isKnown;
  const rest = [
    status === "running" && rate ? `${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s` : "",
    status === "running" && eta != null ? `${format.duration(eta)} left` : "",
  ]
    .filter(Boolean)
    .join(", ");
  return html`<div class="progress tone-${tone(status)}">
    <div
      class="track ${waits ? "unknown" : ""}"
      role="progressbar"
      aria-label=${label}
      aria-valuemin="0"
      aria-valuemax=${isKnown ? total : 1}
      aria-valuenow=${waits ? nothing : isKnown ? Math.min(current, total) : share}
    >
      <div style=${styles(waits ? {} : { width: `${share * 100}%` })}></div>
    </div>
    <div class="said">
      <span
        >${
          isKnown
            ? `${format.count(current)}/${format.count(total)} · ${Math.floor(share * 100)} %`
            : said(status)
        }</span
      >
      <span>${rest}</span>
    </div>
  </div>`;
}

/** @param {string} title @param {unknown} text @param {unknown} [action] */
export function empty(title, text, action = nothing) {
  return html`<div class="empty">
    <h2>${title}</h2>
    <p>${text}</p>
    ${action}
  </div>`;
}

/** @param {string} word  sets the tone @param {unknown} title @param {unknown} [text] @param {unknown} [action] */
export function banner(word, title, text = nothing, action = nothing) {
  return html`<div
    class="banner tone-${tone(word)}"
    role=${tone(word) === "bad" ? "alert" : "status"}
  >
    <strong>${title}</strong>
    <p>${text}</p>
    ${action === nothing ? nothing : html`<div class="row">${action}</div>`}
  </div>`;
}

/** @param {{ label: unknown, count?: number | null, pressed: boolean, press: () => void }} what */
export function chip({ label, count, pressed, press }) {
  return html` <button type="button" class="chip" aria-pressed=${pressed} @click=${press}>
    ${label}${count == null ? nothing : html` <span class="count">${format.count(count)}</span>`}
  </button>`;
}

/** @param {string} name @param {unknown} value @param {unknown} [more] */
export function figure(name, value, more = nothing) {
  return html`<div class="figure">
    <span class="small quiet">${name}</span><b>${value}</b><span class="small quiet">${more}</span>
  </div>`;
}

/** A moment as its age, with the whole of it on hover. @param {string | null} iso @param {number} now */
export function age(iso, now) {
  return iso
    ? html`<time datetime=${iso} title=${format.moment(iso)}>${format.ago(iso, now)}</time>`
    : format.NOTHING;
}

/** An error of the API, in words; with several problems, each on a line. @param {unknown} error */
export function errorText(error) {
  const problems = problemsOf(error);
  if (problems.length) {
    return problems.map(({ loc, msg }) => `${place(loc)}${msg}`).join("\n");
  }
  return error instanceof Error ? error.message : String(error);
}

/** What was wrong with what was asked, field by field. @param {unknown} error */
export function problemsOf(error) {
  const found = error && typeof error === "object" && "problems" in error ? error.problems : null;
  return /** @type {{ loc: (string | number)[], msg: string, type: string, ctx?: Record<string, unknown> | null }[]} */ (
    Array.isArray(found) ? found : []
  );
}

/** @param {(string | number)[]} loc */
function place(loc) {
  const inside = loc.filter((part) => part !== "body" && part !== "params" && part !== "query");
  return inside.length ? `${inside.join(".")}: ` : "";
}
