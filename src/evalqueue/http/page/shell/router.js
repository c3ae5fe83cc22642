// The router: which view an address belongs to, and navigation without loading the page again.

import table from "../routes.json" with { type: "json" };
import { address, pathOf, ROOT } from "./root.js";

/**
 * @typedef {object} Route an entry of routes.json, which the server reads, too
 * @property {string} path `{name}` takes one segment
 * @property {string} view the module in views/
 * @property {string} section of the navigation; its first route is the link's target
 * @property {"submit"} [right] what the session must be allowed to do
 *
 * @typedef {object} RouteMatch
 * @property {string} view
 * @property {string | null} section
 * @property {Record<string, string>} params
 * @property {URLSearchParams} query
 */

/** @type {Route[]} */
const ROUTES = /** @type {any} */ (table);

const PATTERNS = ROUTES.map((route) => ({
  route,
  pattern: new RegExp(`^${route.path.replace(/\{(\w+)\}/g, "(?<$1>[^/]+)")}/?$`),
}));

const OTHER_PATHS = /^\/(api|assets|openapi\.json|healthz|readyz|metrics|sign-in)(\/|$)/; // not the page's

/** The first route of each section: the links of the navigation. */
export const SECTIONS = ROUTES.filter(
  ({ section }, i) => ROUTES.findIndex((each) => each.section === section) === i,
);

/** @param {URL} url @returns {RouteMatch} */
export function matchRoute(url) {
  for (const { route, pattern } of PATTERNS) {
    const groups = pattern.exec(pathOf(url));
    if (!groups) continue;
    const params = Object.entries(groups.groups ?? {}).map(([name, value]) => [
      name,
      decode(value),
    ]);
    return {
      view: route.view,
      section: route.section,
      params: Object.fromEntries(params),
      query: url.searchParams,
    };
  }
  return { view: "not-found", section: null, params: {}, query: url.searchParams };
}

/** @param {string} segment */
function decode(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // with a "%" that is not an escape
  }
}

/**
 * Follow links to the page's own addresses without loading the page again.
 * @param {(url: URL) => void} onNavigate called after each change of the address
 * @returns {(path: string, options?: { replace?: boolean }) => void} navigates to a path of the page
 */
export function startNavigation(onNavigate) {
  window.addEventListener("popstate", () => onNavigate(new URL(location.href)));
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!(link instanceof HTMLAnchorElement) || !isPlainClick(event) || !isInternal(link)) return;
    event.preventDefault();
    if (link.hash && link.pathname === location.pathname) {
      // The browser would fire popstate for a new hash, which would reset the view's form.
      const target = document.getElementById(link.hash.slice(1));
      target?.focus();
      target?.scrollIntoView();
      return;
    }
    navigate(new URL(link.href));
  });

  /** @param {URL} url @param {{ replace?: boolean }} [options] */
  function navigate(url, { replace = false } = {}) {
    history[replace ? "replaceState" : "pushState"](null, "", url);
    onNavigate(url);
  }
  return (path, options) => navigate(new URL(address(path), location.href), options);
}

/** @param {MouseEvent} event */
function isPlainClick(event) {
  return (
    !event.defaultPrevented &&
    event.button === 0 &&
    !event.metaKey &&
    !event.ctrlKey &&
    !event.shiftKey &&
    !event.altKey
  );
}

/** @param {HTMLAnchorElement} link */
function isInternal(link) {
  const isPage = link.pathname.startsWith(`${ROOT}/`) && !OTHER_PATHS.test(pathOf(link));
  return link.origin === location.origin && !link.target && !link.download && isPage;
}
