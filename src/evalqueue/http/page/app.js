// The page: which view is shown, the frame around it, and what all views share.

import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import { createClient } from "./client/index.js";
import { keepingFocus } from "./focus.js";
import { Live } from "./live.js";
import { banner, errorText } from "./parts.js";
import { find, navigation, routes } from "./router.js";
import { mayPass } from "./steady.js";
import { Trail } from "./trail.js";
import { isOver } from "./verdicts.js";
import { signIn } from "./views/signin.js";

/**
 * @typedef {import("./parts.js").Template} Template
 * @typedef {{ title: string, render: () => unknown, keys?: Record<string, () => void> }} View
 * @typedef {{ id: number, word: string, text: string }} Toast
 * @typedef {typeof app} App
 */

const ROUTES = routes({
  "/": "jobs",
  "/new": "new",
  "/jobs/{id}": "job",
  "/runs": "runs",
  "/runs/{id}": "run",
  "/runs/{id}/threads/{evaluation}": "thread",
  "/runs/{id}/cases/{case}": "case",
  "/datasets": "datasets",
  "/workers": "workers",
});

const NAVIGATION = [
  ["/", "Jobs", ["jobs", "job"]],
  ["/new", "New evaluation", ["new"]],
  ["/runs", "Runs", ["runs", "run", "thread", "case"]],
  ["/datasets", "Datasets", ["datasets"]],
  ["/workers", "Workers", ["workers"]],
];

const KEYS = [
  ["n", "New evaluation"],
  ["g", "All jobs"],
  ["/", "Find"],
  ["j  k", "Next and previous conversation or case"],
  ["u", "Up, to the run, where it was left"],
  ["?", "These keys"],
];
const TOAST_MS = 8_000;
const AGAIN_MS = 5_000; // after the server was not there at all
const root = /** @type {HTMLElement} */ (document.getElementById("app"));
const api = createClient();

const app = {
  api,
  live: new Live(
    api,
    () => app.refresh(),
    (error) => app.noted(error),
  ),
  /** @type {import("./client/index.js").Session | null} */
  session: null,
  place: find(ROUTES, new URL(location.href)),
  trail: new Trail(),
  now: Date.now(),
  /** @type {Set<string>} jobs that were submitted here, and whose end is told wherever one is */
  mine: new Set(),
  /** Show everything anew, once before the next frame. */
  refresh() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      draw();
    });
  },
  /** @type {(path: string, options?: { replace?: boolean }) => void} */
  go: () => {},
  /** Say something in passing. @param {string} text @param {string} [word] sets the tone */
  toast(text, word = "completed") {
    const toast = { id: Math.random(), word, text };
    toasts = [...toasts.slice(-4), toast];
    setTimeout(() => dismiss(toast), TOAST_MS);
    app.refresh();
  },
  /**
   * Do something that may fail, and say so if it does; a missing sign-in is asked for.
   * @template T @param {() => Promise<T>} work @param {AbortSignal} [signal] whoever wanted it has left
   * @returns {Promise<T | undefined>}
   */
  async attempt(work, signal) {
    try {
      return await work();
    } catch (error) {
      if (isAborted(error)) return undefined;
      if (!needsSignIn(app.noted(error)) && !signal?.aborted) app.toast(errorText(error), "failed");
      return undefined;
    }
  },
  /** An error, on its way to be shown: if it is that we are signed out, we are asked in. @param {unknown} error */
  noted(error) {
    if (needsSignIn(error) && app.session) void session();
    return error;
  },
};

let pending = false;
/** @type {Toast[]} */
let toasts = [];
/** @type {View | null} */
let view = null;
/** @type {unknown} */
let broken = null;
let leaving = new AbortController();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let again;

/** @param {Toast} toast */
function dismiss(toast) {
  toasts = toasts.filter((each) => each !== toast);
  app.refresh();
}

/** @param {unknown} error */
function isAborted(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @param {unknown} error */
function needsSignIn(error) {
  return error instanceof Error && "status" in error && error.status === 401;
}

/** Who we are; asks for a token if that is what it takes. */
async function session() {
  clearTimeout(again);
  try {
    app.session = await api.session.get();
    broken = null;
    app.live.start();
    await show(find(ROUTES, new URL(location.href)));
  } catch (error) {
    app.live.stop();
    leaving.abort();
    app.session = null;
    broken = null;
    view = needsSignIn(error) ? signIn(app, session) : null;
    if (view)
      app.live.clear(); // whoever comes next may be somebody else
    else broken = error;
    if (mayPass(error)) again = setTimeout(session, AGAIN_MS);
    app.refresh();
  }
}

/** A view that did not come. Most browsers then say the same of it for as long as the document lives. */
class NotLoaded extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super("A part of the page did not come.", { cause });
  }
}

/** @param {string} name */
async function viewOf(name) {
  try {
    return (await import(`./views/${name}.js`)).default;
  } catch (error) {
    throw new NotLoaded(error);
  }
}

async function tryAgain() {
  await session();
  if (broken instanceof NotLoaded) location.reload(); // the server is there, and so will be the view
}

/** @param {import("./router.js").Place} place @returns {Promise<boolean>} whether it is still wanted */
async function show(place) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  app.place = place;
  broken = null;
  try {
    const make = await viewOf(place.view);
    if (signal.aborted) return false;
    view = make(app, { ...place, signal });
  } catch (error) {
    if (signal.aborted) return false;
    broken = error;
  }
  document.title = view && !broken ? `${view.title} · evalqueue` : "evalqueue";
  app.refresh();
  return true;
}

/** @param {URL} url */
function arrived(url) {
  if (!app.session) return; // who signs in is shown what the address says then
  void show(find(ROUTES, url)).then((isShown) => {
    if (!isShown) return;
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  });
}

function draw() {
  if (view && !broken) document.title = `${view.title} · evalqueue`;
  keepingFocus(() => render(frame(), root));
}

function frame() {
  return html`<header class="top">
      <div>
        <a class="brand" href="/"
          ><img src="/assets/icon.svg" alt="" width="24" height="24" />evalqueue</a
        >
        <nav aria-label="Main">
          ${NAVIGATION.filter(([path]) => path !== "/new" || app.session?.right !== "read").map(
            ([path, name, views]) =>
              html` <a
                href=${path}
                aria-current=${views?.includes(app.place.view) ? "page" : nothing}
                >${name}</a
              >`,
          )}
        </nav>
        <div class="tools">
          ${liveness()}<button
            type="button"
            class="plain icon"
            aria-label="Keys"
            title="Keys (?)"
            @click=${showKeys}
          >
            ?</button
          >${themeButton()}${whoAmI()}
        </div>
      </div>
    </header>
    <main id="main" tabindex="-1">
      ${
        broken
          ? banner(
              "failed",
              "This can't be shown",
              errorText(broken),
              html`<button type="button" @click=${tryAgain}>Try again</button>`,
            )
          : view?.render()
      }
    </main>
    ${keysDialog()}
    <div class="toasts" role="status" aria-live="polite">
      ${repeat(
        toasts,
        ({ id }) => id,
        (toast) =>
          html`<div class="toast tone-${toast.word === "failed" ? "bad" : "good"}">
            <p>${toast.text}</p>
            <button
              type="button"
              class="plain tiny"
              aria-label="Dismiss"
              @click=${() => dismiss(toast)}
            >
              ✕
            </button>
          </div>`,
      )}
    </div>`;
}

const STATES = {
  live: ["Live", "live-on", "Changes are pushed as they happen"],
  polling: ["Polling", "live-late", "The event stream can't be had: looking every few seconds"],
  reconnecting: ["Reconnecting", "live-late", "The server is not reached: trying again"],
  paused: ["Paused", "", "The page is hidden"],
};

function liveness() {
  if (!app.session) return nothing;
  const [word, look, title] = STATES[app.live.state];
  return html`<span class="live ${look}" title=${title} role="status">${word}</span>`;
}

function themeButton() {
  const dark = isDark();
  return html`<button
    type="button"
    class="plain icon"
    aria-label=${dark ? "Use light colours" : "Use dark colours"}
    title=${dark ? "Light" : "Dark"}
    @click=${toggleTheme}
  >
    ${dark ? "☀" : "☾"}
  </button>`;
}

function whoAmI() {
  if (!app.session?.needs_token) return nothing;
  return html`<span class="small"
      >${app.session.name} <span class="quiet">(${app.session.right})</span></span
    >
    <button type="button" class="tiny" @click=${signOut}>Sign out</button>`;
}

async function signOut() {
  await app.attempt(() => api.session.signOut());
  await session();
}

function keysDialog() {
  return html`<dialog id="keys" aria-labelledby="keys-title">
    <form method="dialog" class="stack">
      <h2 id="keys-title">Keys</h2>
      <dl class="facts">
        ${KEYS.map(
          ([key, what]) =>
            html`<dt><kbd>${key}</kbd></dt>
              <dd>${what}</dd>`,
        )}
      </dl>
      <div class="row"><button class="primary">Close</button></div>
    </form>
  </dialog>`;
}

function showKeys() {
  const dialog = document.getElementById("keys");
  if (dialog instanceof HTMLDialogElement && !dialog.open) dialog.showModal();
}

/** The end of a job that was submitted here. @param {import("./live.js").JobEvent} job */
function tellEnd(job) {
  if (!isOver(job.status) || !app.mine.delete(job.id) || app.place.params.id === job.run_id) return;
  app.toast(`${job.name || job.job_type}: ${job.status}`, job.status);
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function toggleTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("evalqueue.theme", theme);
  } catch {
    // Storage may be switched off: then the choice lasts as long as the page does.
  }
  app.refresh();
}

/** One key each, when nothing is being written. @param {KeyboardEvent} event */
function pressed(event) {
  const writes =
    event.target instanceof Element &&
    event.target.closest("input, textarea, select, [contenteditable]");
  if (
    writes ||
    document.querySelector("dialog[open]") ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey
  )
    return;
  /** @type {Record<string, () => void>} */
  const keys = { "n": () => app.go("/new"), "g": () => app.go("/"), "?": showKeys, ...view?.keys };
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
}

function begin() {
  try {
    const theme = localStorage.getItem("evalqueue.theme");
    if (theme) document.documentElement.dataset.theme = theme;
  } catch {
    // as above
  }
  app.go = navigation(arrived);
  document.addEventListener("keydown", pressed);
  app.live.listen(new AbortController().signal, { job: tellEnd });
  setInterval(() => {
    app.now = Date.now();
    if (!document.hidden) app.refresh();
  }, 1_000);
  void session();
}

begin();
