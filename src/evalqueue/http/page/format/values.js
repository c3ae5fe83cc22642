// Numbers, times and names as text. Null is "not measured" and never 0.

const whole = new Intl.NumberFormat("en");
const compactly = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const shares = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** Shown in place of a value that was not measured. */
export const NOTHING = "–";

/** @param {number | null | undefined} value */
export function count(value) {
  return value == null ? NOTHING : whole.format(value);
}

/** A short form, such as 1.2M. @param {number | null | undefined} value */
export function compact(value) {
  return value == null ? NOTHING : compactly.format(value);
}

/** @param {number} value @param {string} one @param {string} [many] */
export function plural(value, one, many = `${one}s`) {
  return `${whole.format(value)} ${value === 1 ? one : many}`;
}

/**
 * A sum in US dollars, which the API sends as text: to the cent, or with two digits that say something.
 * @param {string | null} value
 */
export function dollars(value) {
  if (value === null) return NOTHING;
  const sum = Number(value);
  const digits = sum === 0 || sum >= 0.1 ? 2 : Math.min(10, 1 - Math.floor(Math.log10(sum)));
  return `$${sum.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/**
 * Whether a cost is complete.
 * @param {{ calls: number, cost_usd: string | null, unpriced_calls: number }} usage
 */
export function unpriced({ calls, cost_usd, unpriced_calls }) {
  if (!calls) return "no call was made";
  if (!unpriced_calls) return cost_usd === null ? "" : "by list prices";
  if (cost_usd === null) return "the model's price is unknown";
  return `without ${plural(unpriced_calls, "call")} of unknown price`;
}

/** A share between 0 and 1. @param {number | null | undefined} value */
export function percent(value) {
  return value == null ? NOTHING : shares.format(value);
}

/** @param {number | null | undefined} bytes */
export function bytes(bytes) {
  if (bytes == null) return NOTHING;
  const units = ["bytes", "kB", "MB", "GB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit ? size.toFixed(size < 10 ? 1 : 0) : whole.format(size)} ${units[unit]}`;
}

/** @param {number | null | undefined} ms */
export function milliseconds(ms) {
  if (ms == null) return NOTHING;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (seconds == null) return NOTHING;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return plural(Math.floor(hours / 24), "day");
}

/**
 * The age of a moment, in its largest unit.
 * @param {string | null | undefined} iso
 * @param {number} now
 */
export function ago(iso, now) {
  if (!iso) return NOTHING;
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return plural(Math.floor(seconds / 86_400), "day");
}

/** @param {string | null | undefined} iso */
export function moment(iso) {
  return iso ? moments.format(new Date(iso)) : NOTHING;
}

/** The days from `first` to `last`. @param {string | null} first @param {string | null} last */
export function dayRange(first, last) {
  if (!first || !last) return NOTHING;
  const [from, to] = [days.format(new Date(first)), days.format(new Date(last))];
  return from === to ? from : `${from} – ${to}`;
}

/** The first characters of an id, enough to recognize it. @param {string} id */
export function shortId(id) {
  return id.startsWith("sha256:") ? id.slice(7, 15) : id.slice(0, 8);
}

/** @param {unknown} value */
export function pretty(value) {
  return JSON.stringify(value, null, 2);
}

/** JSON with line breaks and indentation; other text unchanged. @param {string} text */
export function indented(text) {
  try {
    return pretty(JSON.parse(text));
  } catch {
    return text;
  }
}
