// The frame around every view: navigation, connection state, theme, session, keyboard shortcuts.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { SECTIONS } from "./router.js";
import { isDark, toggleTheme } from "./theme.js";
import { address } from "./root.js";

/** @typedef {import("../app.js").App} App */

const SHORTCUTS = [
  ["n", "New evaluation"],
  ["g", "All jobs"],
  ["/", "Find"],
  ["j  k", "Next and previous conversation or case"],
  ["u", "Up to the run, where it was left"],
  ["1 … 9", "Labelling: choose a value, which Enter saves; Enter again: the next conversation"],
  ["n  u", "Labelling: write a note; go back, to correct a label"],
  ["?", "These keys"],
];

const CONNECTION = {
  live: ["Live", "live-on", "Changes are pushed as they happen"],
  polling: ["Polling", "live-late", "No event stream available: asking every few seconds"],
  reconnecting: ["Reconnecting", "live-late", "The server can't be reached: trying again"],
  paused: ["Paused", "", "The page is hidden"],
};

/** @param {App} app @param {unknown} content of the current view */
export function frame(app, content) {
  return html`<header class="top">
      <div>
        <a class="brand" href=${address("/")}
          ><img src=${address("/assets/icon.svg")} alt="" width="24" height="24" />evalqueue</a
        >
        ${navigation(app)}
        <div class="tools">
          ${connectionState(app)}<button
            type="button"
            class="plain icon"
            aria-label="Keys"
            title="Keys (?)"
            @click=${showShortcuts}
          >
            ?</button
          >${themeButton(app)}${sessionInfo(app)}
        </div>
      </div>
    </header>
    <main id="main" tabindex="-1">${content}</main>
    ${shortcutsDialog()} ${app.toasts.render()}`;
}

/** @param {App} app */
function navigation(app) {
  const sections = SECTIONS.filter(({ right }) => !right || app.session?.right !== "read");
  return html`<nav aria-label="Main">
    ${sections.map(
      ({ path, section }) =>
        html`<a
          href=${address(path)}
          aria-current=${section === app.route.section ? "page" : nothing}
          >${section}</a
        >`,
    )}
  </nav>`;
}

/** @param {App} app */
function connectionState(app) {
  if (!app.session) return nothing;
  const [text, className, title] = CONNECTION[app.live.state];
  return html`<span class="live ${className}" title=${title} role="status">${text}</span>`;
}

/** @param {App} app */
function themeButton(app) {
  const dark = isDark();
  return html`<button
    type="button"
    class="plain icon"
    aria-label=${dark ? "Use light colours" : "Use dark colours"}
    title=${dark ? "Light" : "Dark"}
    @click=${() => {
      toggleTheme();
      app.refresh();
    }}
  >
    ${dark ? "☀" : "☾"}
  </button>`;
}

/** @param {App} app */
function sessionInfo(app) {
  if (!app.session?.needs_token) return nothing;
  return html`<span class="small"
      >${app.session.name} <span class="quiet">(${app.session.right})</span></span
    >
    <button type="button" class="tiny" @click=${() => app.signOut()}>Sign out</button>`;
}

function shortcutsDialog() {
  return html`<dialog id="keys" aria-labelledby="keys-title">
    <form method="dialog" class="stack">
      <h2 id="keys-title">Keys</h2>
      <dl class="facts">
        ${SHORTCUTS.map(
          ([key, description]) =>
            html`<dt><kbd>${key}</kbd></dt>
              <dd>${description}</dd>`,
        )}
      </dl>
      <div class="row"><button class="primary">Close</button></div>
    </form>
  </dialog>`;
}

export function showShortcuts() {
  const dialog = document.getElementById("keys");
  if (dialog instanceof HTMLDialogElement && !dialog.open) dialog.showModal();
}
