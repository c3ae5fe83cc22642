// Errors of the API: what they say, and whether they pass without a change to the request.

/**
 * @typedef {{
 *   loc: (string | number)[], msg: string, type: string, ctx?: Record<string, unknown> | null,
 * }} Problem
 */

/**
 * The text of an error. An API error with several problems has one line for each.
 * @param {unknown} error
 */
export function errorText(error) {
  const problems = problemsOf(error);
  if (problems.length) {
    return problems.map(({ loc, msg }) => `${fieldPath(loc)}${msg}`).join("\n");
  }
  return error instanceof Error ? error.message : String(error);
}

/**
 * The problems of a rejected request, field by field. Empty for any other error.
 * @param {unknown} error
 * @returns {Problem[]}
 */
export function problemsOf(error) {
  const problems =
    error && typeof error === "object" && "problems" in error ? error.problems : null;
  return Array.isArray(problems) ? problems : [];
}

/** @param {(string | number)[]} loc */
function fieldPath(loc) {
  const inside = loc.filter((part) => part !== "body" && part !== "params" && part !== "query");
  return inside.length ? `${inside.join(".")}: ` : "";
}

/**
 * Whether the same request may succeed later: the server is unreachable or busy.
 * @param {unknown} error
 */
export function isTransient(error) {
  return error instanceof Error && "isTransient" in error && error.isTransient === true;
}

/** @param {unknown} error */
export function isAborted(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * Whether the session has ended, or there never was one.
 * @param {unknown} error
 */
export function isUnauthorized(error) {
  return error instanceof Error && "status" in error && error.status === 401;
}
