// A token is asked for.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { errorText } from "../parts.js";

/**
 * @param {import("../app.js").App} app @param {() => Promise<void>} done
 * @returns {import("../app.js").View}
 */
export function signIn(app, done) {
  let wrong = "";
  // "autofocus" is only heeded when the page is loaded.
  requestAnimationFrame(() =>
    requestAnimationFrame(() =>
      /** @type {HTMLElement | null} */ (document.querySelector("input[name=token]"))?.focus(),
    ),
  );

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const token = String(
      new FormData(/** @type {HTMLFormElement} */ (event.target)).get("token") ?? "",
    ).trim();
    try {
      await app.api.session.signIn(token);
      await done();
    } catch (error) {
      wrong = errorText(error);
      app.refresh();
    }
  }

  return {
    title: "Sign in",
    render: () =>
      html`<div class="empty">
        <form class="card stack" @submit=${submit}>
          <h1>Sign in</h1>
          <label class="field"
            ><span>Token</span>
            <input
              name="token"
              type="password"
              autocomplete="current-password"
              required
              autofocus
              aria-invalid=${wrong ? "true" : nothing}
              aria-describedby="token-help"
            />
          </label>
          <p class="hint" id="token-help">
            Made by <code>evalqueue token NAME --right submit</code>; who runs the server has it.
          </p>
          ${wrong ? html`<p class="wrong" role="alert">${wrong}</p>` : nothing}
          <button class="primary">Sign in</button>
        </form>
      </div>`,
  };
}
