// The reader's way through runs, for as long as the document lives: what a run's list showed, in
// which order, and what was opened from it. Whoever goes on reads that list, and whoever goes back
// finds their place.

/**
 * @typedef {{ query: string, keys: () => string[] }} List  `keys`: what the addresses of what its rows open end in
 * @typedef {{ at: number, of: number, previous: string | undefined, next: string | undefined, isWhole: boolean }} Around
 */

export class Trail {
  constructor() {
    /** @type {Map<string, List>} by run */
    this.lists = new Map();
    /** @type {Map<string, string>} by run, the key of what was opened last */
    this.opened = new Map();
  }

  /** A run's list, as it is now. @param {string} run @param {List} list */
  shows(run, list) {
    this.lists.set(run, list);
  }

  /** @param {string} run @param {string} key */
  opens(run, key) {
    this.opened.set(run, key);
  }

  /** Where the run's page is, filtered as it was. @param {string} run */
  up(run) {
    return `/runs/${run}${this.lists.get(run)?.query ?? ""}`;
  }

  /** What stands beside it in the list it was opened from. @param {string} run @param {string} key @returns {Around | null} */
  around(run, key) {
    const list = this.lists.get(run);
    const keys = [...new Set(list?.keys())];
    const at = keys.indexOf(key);
    if (!list || at < 0) return null;
    return {
      at,
      of: keys.length,
      previous: keys[at - 1],
      next: keys[at + 1],
      isWhole: !list.query,
    };
  }

  /** The row in the list that was opened last, told once; -1 if there is none. @param {string} run */
  returned(run) {
    const key = this.opened.get(run);
    if (key === undefined) return -1;
    this.opened.delete(run);
    return this.lists.get(run)?.keys().indexOf(key) ?? -1;
  }
}
