// Where the page is served: at the root of its server, or under a path.

/** The path before all others: "/evalqueue", or "". The folder of this file is below /assets. */
export const ROOT = new URL("../..", import.meta.url).pathname.replace(/\/$/, "");

/**
 * A path of the page as a link has it.
 * @param {string} path such as "/runs"
 */
export function address(path) {
  return `${ROOT}${path}`;
}

/** The path of the page that an address has. @param {URL | HTMLAnchorElement} url */
export function pathOf({ pathname }) {
  return pathname.startsWith(`${ROOT}/`) ? pathname.slice(ROOT.length) : "/";
}
