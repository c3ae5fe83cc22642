// Badge, progress bar, banner, chip and the other small templates that every view uses.

import { label, tone } from "../format/labels.js";
import * as format from "../format/values.js";
import { styles } from "../lib/styles.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

/** @typedef {import("../vendor/lit-html/lit-html.js").TemplateResult} Template */

/** @param {string | null | undefined} word @param {string} [absent] @param {string} [title] */
export function badge(word, absent, title) {
  return html`<span class="badge tone-${tone(word)}" title=${title ?? nothing}
    >${label(word, absent)}</span
  >`;
}

/** In place of a view's data that has not come yet. */
export function loading() {
  return html`<p class="loading quiet" role="status">Loading …</p>`;
}

/**
 * A progress bar, with counts, rate and remaining time below it.
 * @param {object} options
 * @param {number} options.current
 * @param {number} options.total 0: not known yet
 * @param {string} options.status of the job
 * @param {number | null} [options.ratePerSecond]
 * @param {number | null} [options.secondsLeft]
 * @param {string} options.name for screen readers
 */
export function progress({ current, total, status, ratePerSecond, secondsLeft, name }) {
  const isKnown = total > 0;
  const share = isKnown ? Math.min(1, current / total) : status === "completed" ? 1 : 0;
  const isIndeterminate = status === "running" && !isKnown;
  const pace = [];
  if (status === "running" && ratePerSecond) {
    pace.push(`${ratePerSecond < 10 ? ratePerSecond.toFixed(1) : Math.round(ratePerSecond)}/s`);
  }
  if (status === "running" && secondsLeft != null) {
    pace.push(`${format.duration(secondsLeft)} left`);
  }
  return html`<div class="progress tone-${tone(status)}">
    <div
      class="track ${isIndeterminate ? "unknown" : ""}"
      role="progressbar"
      aria-label=${name}
      aria-valuemin="0"
      aria-valuemax=${isKnown ? total : 1}
      aria-valuenow=${isIndeterminate ? nothing : isKnown ? Math.min(current, total) : share}
    >
      <div style=${styles(isIndeterminate ? {} : { width: `${share * 100}%` })}></div>
    </div>
    <div class="caption">
      <span
        >${
          isKnown
            ? `${format.count(current)}/${format.count(total)} · ${Math.floor(share * 100)} %`
            : label(status)
        }</span
      >
      <span>${pace.join(", ")}</span>
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

/**
 * @param {string} word a verdict, a status or an outcome, which sets the tone
 * @param {unknown} title
 * @param {unknown} [text]
 * @param {unknown} [action]
 */
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

/**
 * A button that switches a filter on and off.
 * @param {object} options
 * @param {unknown} options.text
 * @param {number | null} [options.count] of the rows that match
 * @param {boolean} options.isPressed
 * @param {() => void} options.onPress
 */
export function chip({ text, count, isPressed, onPress }) {
  return html`<button type="button" class="chip" aria-pressed=${isPressed} @click=${onPress}>
    ${text}${count == null ? nothing : html` <span class="count">${format.count(count)}</span>`}
  </button>`;
}

/**
 * One number with its name above it.
 * @param {string} name
 * @param {unknown} value
 * @param {unknown} [details]
 */
export function figure(name, value, details = nothing) {
  return html`<div class="figure">
    <span class="small quiet">${name}</span><b>${value}</b
    ><span class="small quiet">${details}</span>
  </div>`;
}

/**
 * The age of a moment, with date and time on hover.
 * @param {string | null} iso
 * @param {number} now milliseconds since the epoch
 */
export function age(iso, now) {
  return iso
    ? html`<time datetime=${iso} title=${format.moment(iso)}>${format.ago(iso, now)}</time>`
    : format.NOTHING;
}
