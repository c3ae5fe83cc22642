// The vocabularies as people see them. Null is "not measured": it has a look of its own.

/** @type {Record<string, string>} */
const TONES = {
  "PASS": "good",
  "EFFICIENT": "good",
  "FOLLOWED": "good",
  "GOOD": "good",
  "completed": "good",
  "ACCEPTABLE": "fair",
  "SOFT FAIL": "warn",
  "FRICTION": "warn",
  "PARTIAL": "warn",
  "completed_with_errors": "warn",
  "lost": "warn",
  "HARD FAIL": "bad",
  "BROKEN": "bad",
  "VIOLATED": "bad",
  "FAILED": "bad",
  "failed": "bad",
  "CRITICAL": "worst",
  "INCOMPLETE": "busy",
  "running": "busy",
};

/** @type {Record<string, string>} */
const WORDS = {
  completed_with_errors: "completed, partly",
  goal_complete: "goal reached",
  goal_abandoned: "gave up",
  max_turns: "turns used up",
  error: "broken off",
};

/** The tone of a verdict, a status or an outcome. @param {string | null | undefined} word */
export function tone(word) {
  return (word != null && TONES[word]) || "none";
}

/** @param {string | null | undefined} word @param {string} [absent] */
export function said(word, absent = "not measured") {
  if (word == null) return absent;
  return WORDS[word] ?? word.replaceAll("_", " ").toLowerCase();
}

/** The worst first: how conversations are sorted by a verdict. */
export const SEVERITY = [
  "CRITICAL",
  "HARD FAIL",
  "BROKEN",
  "SOFT FAIL",
  "FRICTION",
  "INCOMPLETE",
  "ACCEPTABLE",
  "PASS",
  "EFFICIENT",
  "NOT APPLICABLE",
];

/** @param {string | null} word */
export function severity(word) {
  return word == null ? SEVERITY.length : SEVERITY.indexOf(word);
}

/** @param {string} status */
export function isOver(status) {
  return !["queued", "pending", "running"].includes(status);
}
