// The page's entry point: the state that all views share, the session, and the current view.

import { createClient } from "./client/index.js";
import { banner } from "./components/basics.js";
import { errorText, isAborted, isTransient, isUnauthorized } from "./data/errors.js";
import { ListPositions } from "./data/list-positions.js";
import { LiveJobs } from "./data/live-jobs.js";
import { forgetDrafts } from "./data/drafts.js";
import { WaitingReasons } from "./data/waiting-reasons.js";
import { isOver } from "./format/labels.js";
import { frame, showShortcuts } from "./shell/frame.js";
import { keepFocus } from "./shell/keep-focus.js";
import { ROOT } from "./shell/root.js";
import { matchRoute, startNavigation } from "./shell/router.js";
import { restoreTheme } from "./shell/theme.js";
import { Toasts } from "./shell/toasts.js";
import { html, nothing, render } from "./vendor/lit-html/lit-html.js";
import { signIn } from "./views/sign-in.js";

/**
 * @typedef {object} View what the default export of a module in views/ returns
 * @property {string} title
 * @property {() => unknown} render
 * @property {Record<string, () => void>} [keys] the view's own keyboard shortcuts
 * @property {() => void} [resume] the same user has signed in again; without it, the view is
 *   created anew. For views with input that would be lost
 *
 * @typedef {typeof app} App
 */

const SESSION_RETRY_MS = 5_000;
const CLOCK_MS = 1_000; // how often ages on the page are updated

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
const api = createClient({ baseUrl: ROOT || undefined });

const app = {
  api,
  live: new LiveJobs(
    api,
    () => app.refresh(),
    (error) => app.reportError(error),
  ),
  waiting: new WaitingReasons(
    api,
    () => app.refresh(),
    (error) => app.reportError(error),
  ),
  /** @type {import("./client/index.js").Session | null} */
  session: null,
  route: matchRoute(new URL(location.href)),
  positions: new ListPositions(),
  toasts: new Toasts(() => app.refresh()),
  now: Date.now(),
  /** @type {Set<string>} ids of jobs submitted on this page; a toast reports the end of each */
  submittedJobs: new Set(),

  /** Render once before the next frame. */
  refresh() {
    if (pendingRender !== null) return;
    pendingRender = requestAnimationFrame(app.render);
  },

  /** Render now: the handlers of the next event have to see what this one changed. */
  render() {
    if (pendingRender !== null) cancelAnimationFrame(pendingRender);
    pendingRender = null;
    renderPage();
  },

  /** @type {(path: string, options?: { replace?: boolean }) => void} */
  go: () => {},

  /** @param {string} text @param {string} [status] "failed" makes it an error */
  toast(text, status = "completed") {
    app.toasts.add(text, status === "failed");
  },

  /**
   * Do something that may fail, and show its error in a toast. If the session has ended, show the
   * sign-in form instead.
   * @template T
   * @param {() => Promise<T>} work
   * @param {AbortSignal} [signal] no error is shown once it is aborted
   * @returns {Promise<T | undefined>}
   */
  async attempt(work, signal) {
    try {
      return await work();
    } catch (error) {
      if (isAborted(error)) return undefined;
      app.reportError(error);
      if (!isUnauthorized(error) && !signal?.aborted) app.toast(errorText(error), "failed");
      return undefined;
    }
  },

  /**
   * Show the sign-in form if the error says that the session has ended. Returns the error.
   * @param {unknown} error
   */
  reportError(error) {
    if (isUnauthorized(error) && app.session && !signInAgain) void checkSession();
    return error;
  },

  async signOut() {
    await app.attempt(() => api.session.signOut());
    otherTabs.postMessage("changed");
    forgetDrafts();
    await openSession();
  },
};

/** Tells the other tabs of this browser that somebody has signed in or out. */
const otherTabs = new BroadcastChannel("evalqueue-session");
/** @type {number | null} the frame that is requested for it */
let pendingRender = null;
/** @type {View | null} */
let view = null;
/** @type {View | null} the form that is shown over the view once its session has ended */
let signInAgain = null;
/** @type {unknown} shown in place of the view */
let viewError = null;
/** Aborted when the current view is left. */
let viewController = new AbortController();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let sessionTimer;

/** Get the session and show the current address, or else the sign-in form. */
async function openSession() {
  clearTimeout(sessionTimer);
  try {
    app.session = await api.session.get();
    signInAgain = null;
    viewError = null;
    watchJobs(app.session);
    await showView(matchRoute(new URL(location.href)));
  } catch (error) {
    app.live.stop();
    viewController.abort();
    app.session = null;
    signInAgain = null;
    const mustSignIn = isUnauthorized(error);
    view = mustSignIn ? signIn(app, onSignedIn) : null;
    viewError = mustSignIn ? null : error;
    if (mustSignIn) app.live.clear(); // another user may sign in
    if (isTransient(error)) sessionTimer = setTimeout(openSession, SESSION_RETRY_MS);
    app.refresh();
  }
}

/** @param {import("./client/index.js").Session} session */
function watchJobs({ name, right }) {
  app.live.start(`${right} ${name}`);
}

async function onSignedIn() {
  otherTabs.postMessage("changed");
  await (signInAgain ? checkSession() : openSession());
}

/** Find out whether the session has ended, or is now another user's. */
async function checkSession() {
  const before = app.session;
  if (!before) return openSession();
  try {
    const session = await api.session.get();
    if (session.name !== before.name || session.right !== before.right) {
      forgetDrafts();
      await openSession();
    } else if (signInAgain) {
      resume();
    }
  } catch (error) {
    if (!isUnauthorized(error)) return;
    app.live.stop();
    signInAgain ??= signIn(app, onSignedIn);
    app.refresh();
  }
}

/** The same user has signed in again. */
function resume() {
  if (!view?.resume) return void openSession();
  signInAgain = null;
  if (app.session) watchJobs(app.session);
  view.resume();
  app.refresh();
}

/**
 * A view's module could not be loaded. Most browsers then fail until the page is reloaded.
 */
class ViewNotLoaded extends Error {
  /** @param {unknown} cause */
  constructor(cause) {
    super("A part of the page could not be loaded.", { cause });
  }
}

/** @param {string} name */
async function loadView(name) {
  try {
    return (await import(`./views/${name}.js`)).default;
  } catch (error) {
    throw new ViewNotLoaded(error);
  }
}

async function retry() {
  await openSession();
  if (viewError instanceof ViewNotLoaded) location.reload();
}

/**
 * @param {import("./shell/router.js").RouteMatch} route
 * @returns {Promise<boolean>} false if another view was requested meanwhile
 */
async function showView(route) {
  viewController.abort();
  viewController = new AbortController();
  const { signal } = viewController;
  app.route = route;
  viewError = null;
  try {
    const createView = await loadView(route.view);
    if (signal.aborted) return false;
    view = createView(app, { ...route, signal });
  } catch (error) {
    if (signal.aborted) return false;
    viewError = error;
  }
  document.title = view && !viewError ? `${view.title} · evalqueue` : "evalqueue";
  app.refresh();
  return true;
}

/** @param {URL} url */
function onNavigate(url) {
  if (!app.session || signInAgain) return; // after the sign-in, the address is shown
  void showView(matchRoute(url)).then((isShown) => {
    if (!isShown) return;
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  });
}

function renderPage() {
  if (view && !viewError) document.title = `${view.title} · evalqueue`;
  const content = html`${signInAgain?.render() ?? nothing}
    <div ?hidden=${signInAgain !== null}>${viewError ? errorBanner() : view?.render()}</div>`;
  keepFocus(() => render(frame(app, content), root));
}

function errorBanner() {
  const retryButton = html`<button type="button" @click=${retry}>Try again</button>`;
  return banner("failed", "This page can't be shown", errorText(viewError), retryButton);
}

/** @param {import("./data/live-jobs.js").JobEvent} job */
function reportEnd(job) {
  if (!isOver(job.status) || !app.submittedJobs.delete(job.id)) return;
  if (app.route.params.id === job.run_id) return;
  app.toast(`${job.name || job.job_type}: ${job.status}`, job.status);
}

/** Keyboard shortcuts of one key, except in inputs and dialogs. @param {KeyboardEvent} event */
function onKeydown(event) {
  const isInput =
    event.target instanceof Element &&
    event.target.closest("input, textarea, select, [contenteditable]");
  const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
  if (signInAgain || isInput || hasModifier || document.querySelector("dialog[open]")) return;
  /** @type {Record<string, () => void>} */
  const keys = {
    "n": () => app.go("/new"),
    "g": () => app.go("/"),
    "?": showShortcuts,
    ...view?.keys,
  };
  const action = keys[event.key];
  if (action) {
    event.preventDefault();
    action();
  }
}

function start() {
  restoreTheme();
  app.go = startNavigation(onNavigate);
  document.addEventListener("keydown", onKeydown);
  app.live.listen(new AbortController().signal, { job: reportEnd });
  otherTabs.addEventListener("message", () => void checkSession());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.refresh());
  setInterval(() => {
    app.now = Date.now();
    if (!document.hidden) app.refresh();
  }, CLOCK_MS);
  void openSession();
}

start();
