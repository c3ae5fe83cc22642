// Toasts: short messages that disappear after some seconds.

import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html } from "../vendor/lit-html/lit-html.js";

const MAX_TOASTS = 5;
const DURATION_MS = 8_000;

/** @typedef {{ id: number, isError: boolean, text: string }} Toast */

export class Toasts {
  /** @param {() => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Toast[]} */
    this.list = [];
  }

  /** @param {string} text @param {boolean} isError */
  add(text, isError) {
    const toast = { id: Math.random(), isError, text };
    this.list = [...this.list.slice(1 - MAX_TOASTS), toast];
    setTimeout(() => this.dismiss(toast), DURATION_MS);
    this.onChange();
  }

  /** @param {Toast} toast */
  dismiss(toast) {
    this.list = this.list.filter((each) => each !== toast);
    this.onChange();
  }

  render() {
    return html`<div class="toasts" role="status" aria-live="polite">
      ${repeat(
        this.list,
        ({ id }) => id,
        (toast) =>
          html`<div class="toast tone-${toast.isError ? "bad" : "good"}">
            <p>${toast.text}</p>
            <button
              type="button"
              class="plain tiny"
              aria-label="Dismiss"
              @click=${() => this.dismiss(toast)}
            >
              ✕
            </button>
          </div>`,
      )}
    </div>`;
  }
}
