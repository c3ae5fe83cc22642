// The sign-in form, which leads to the identity provider, if there is one, or asks for a token.

import { errorText } from "../data/errors.js";
import { address, pathOf } from "../shell/root.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const hasSingleSignOn = "singleSignOn" in document.documentElement.dataset;

/** From where the identity provider asks who this is; it sends the browser back here. */
function singleSignOnPath() {
  const here = `${pathOf(new URL(location.href))}${location.search}`;
  return `/sign-in?${new URLSearchParams({ next: here })}`;
}

function singleSignOn() {
  return html`<a class="button primary" autofocus href=${address(singleSignOnPath())}
      >Use single sign-on</a
    >
    <p class="hint">Or with a token:</p>`;
}

/**
 * @param {import("../app.js").App} app @param {() => Promise<void>} onSignedIn
 * @returns {import("../app.js").View}
 */
export function signIn(app, onSignedIn) {
  let errorMessage = "";
  // Browsers obey "autofocus" only when they load the page.
  requestAnimationFrame(() =>
    requestAnimationFrame(() =>
      /** @type {HTMLElement | null} */ (document.querySelector(".sign-in [autofocus]"))?.focus(),
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
      await onSignedIn();
    } catch (error) {
      errorMessage = errorText(error);
      app.refresh();
    }
  }

  return {
    title: "Sign in",
    render: () =>
      html`<div class="empty">
        <form class="card stack sign-in" @submit=${submit}>
          <h1>Sign in</h1>
          ${hasSingleSignOn ? singleSignOn() : nothing}
          <label class="field"
            ><span>Token</span>
            <input
              name="token"
              type="password"
              autocomplete="current-password"
              required
              ?autofocus=${!hasSingleSignOn}
              aria-invalid=${errorMessage ? "true" : nothing}
              aria-describedby="token-help"
            />
          </label>
          <p class="hint" id="token-help">
            Made by <code>evalqueue token NAME --right submit</code>; ask the operator of the
            server.
          </p>
          ${errorMessage ? html`<p class="wrong" role="alert">${errorMessage}</p>` : nothing}
          <button class=${hasSingleSignOn ? "" : "primary"}>Sign in</button>
        </form>
      </div>`,
  };
}
