// Which view belongs to an address. Addresses are real paths: they can be shared, reloaded, and
// opened in a tab of their own.

/**
 * @typedef {{ pattern: RegExp, names: string[], view: string }} Route
 * @typedef {{ view: string, params: Record<string, string>, query: URLSearchParams }} Place
 */

/** @param {Record<string, string>} table  path → view's name; `{name}` takes one segment */
export function routes(table) {
  return Object.entries(table).map(([path, view]) => {
    /** @type {string[]} */
    const names = [];
    const pattern = path.replace(/\{(\w+)\}/g, (_, name) => {
      names.push(name);
      return "([^/]+)";
    });
    return { pattern: new RegExp(`^${pattern}/?$`), names, view };
  });
}

/** @param {Route[]} table @param {URL} url @returns {Place} */
export function find(table, url) {
  for (const { pattern, names, view } of table) {
    const found = pattern.exec(url.pathname);
    if (found) {
      const params = Object.fromEntries(names.map((name, i) => [name, decode(found[i + 1] ?? "")]));
      return { view, params, query: url.searchParams };
    }
  }
  return { view: "missing", params: {}, query: url.searchParams };
}

/** @param {string} segment */
function decode(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // a lone % is no reason to show nothing
  }
}

/**
 * Go to an address of ours when a link to it is followed, without loading the page again.
 * @param {(url: URL) => void} arrived
 * @returns {(path: string, options?: { replace?: boolean }) => void} go there
 */
export function navigation(arrived) {
  window.addEventListener("popstate", () => arrived(new URL(location.href)));
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!(link instanceof HTMLAnchorElement) || !isPlain(event) || !isOurs(link)) return;
    event.preventDefault();
    if (link.hash && link.pathname === location.pathname) {
      // The browser would tell of it as of another address, and what was filled in would be gone.
      const target = document.getElementById(link.hash.slice(1));
      target?.focus();
      target?.scrollIntoView();
      return;
    }
    go(link.href);
  });

  /** @param {string} path @param {{ replace?: boolean }} [options] */
  function go(path, { replace = false } = {}) {
    const url = new URL(path, location.href);
    history[replace ? "replaceState" : "pushState"](null, "", url);
    arrived(url);
  }
  return go;
}

/** @param {MouseEvent} event */
function isPlain(event) {
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
function isOurs(link) {
  const isPage = !/^\/(api|assets|openapi\.json|healthz|readyz|metrics)(\/|$)/.test(link.pathname);
  return link.origin === location.origin && !link.target && !link.download && isPage;
}
