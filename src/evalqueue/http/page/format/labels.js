// Statuses, verdicts and outcomes: the label, the tone and the severity of each. Null is "not
// measured", which has a label and a tone of its own.

/** @type {Record<string, string>} */
const TONES = {
  "PASS": "good",
  "FOLLOWED": "good",
  "GOOD": "good",
  "completed": "good",
  "SOFT FAIL": "warn",
  "PARTIAL": "warn",
  "completed_with_errors": "warn",
  "lost": "warn",
  "HARD FAIL": "bad",
  "VIOLATED": "bad",
  "FAILED": "bad",
  "failed": "bad",
  "CRITICAL": "worst",
  "running": "busy",
};

/** @type {Record<string, string>} */
const LABELS = {
  completed_with_errors: "completed, partly",
  goal_complete: "goal reached",
  goal_abandoned: "gave up",
  max_turns: "turns used up",
  error: "interrupted",
  no_key: "not judged: no key set",
  not_recorded: "not judged: no answer in the run that is replayed",
};

/**
 * The tone of a verdict, a status or an outcome: the suffix of a `tone-…` class.
 * @param {string | null | undefined} word
 */
export function tone(word) {
  return (word != null && TONES[word]) || "none";
}

/**
 * The tone of a reason for which there is no verdict. Without a key, or where the data do not say it,
 * nothing went wrong.
 * @param {string} reason
 */
export function failureTone(reason) {
  return reason === "no_key" || reason === "not_measured" ? "none" : "bad";
}

/** @param {string | null | undefined} word @param {string} [absent] the label of null */
export function label(word, absent = "not measured") {
  if (word == null) return absent;
  return LABELS[word] ?? word.replaceAll("_", " ").toLowerCase();
}

/** Verdicts of adversarial tests, the worst first. */
const SEVERITY = ["CRITICAL", "HARD FAIL", "SOFT FAIL", "PASS"];

/**
 * A number to sort by, the worst verdict first and null last.
 * @param {string | null} verdict
 */
export function severity(verdict) {
  return verdict == null ? SEVERITY.length : SEVERITY.indexOf(verdict);
}

/**
 * Whether a job or a run with this status has ended.
 * @param {string} status
 */
export function isOver(status) {
  return !["queued", "pending", "running"].includes(status);
}
