// The result lists that were shown in this document, and the result opened last from each: for the
// "previous" and "next" buttons, and for scrolling back to the row that was opened.

/**
 * @typedef {object} ResultList
 * @property {string} query the filter and the order, as the query string of the run's address
 * @property {() => string[]} keys the last path segment of each row's link, in the order shown
 *
 * @typedef {object} Neighbours
 * @property {number} index of the result, from 0
 * @property {number} total results in the list
 * @property {string | undefined} previous
 * @property {string | undefined} next
 * @property {boolean} isUnfiltered
 */

export class ListPositions {
  constructor() {
    /** @type {Map<string, ResultList>} by run id */
    this.lists = new Map();
    /** @type {Map<string, string>} by run id: the key of the result that was opened last */
    this.lastOpened = new Map();
  }

  /** @param {string} runId @param {ResultList} list the list as it is shown now */
  setList(runId, list) {
    this.lists.set(runId, list);
  }

  /** @param {string} runId @param {string} key */
  setOpened(runId, key) {
    this.lastOpened.set(runId, key);
  }

  /**
   * The address of the run, with the filter of its list.
   * @param {string} runId
   */
  runPath(runId) {
    return `/runs/${runId}${this.lists.get(runId)?.query ?? ""}`;
  }

  /**
   * The neighbours of a result in its run's list. Null if the list was not shown or lacks it.
   * @param {string} runId
   * @param {string} key
   * @returns {Neighbours | null}
   */
  neighbours(runId, key) {
    const list = this.lists.get(runId);
    const keys = [...new Set(list?.keys())];
    const index = keys.indexOf(key);
    if (!list || index < 0) return null;
    return {
      index,
      total: keys.length,
      previous: keys[index - 1],
      next: keys[index + 1],
      isUnfiltered: !list.query,
    };
  }

  /**
   * The index of the row that was opened last, once: the next call returns -1, as it does without
   * such a row.
   * @param {string} runId
   */
  takeOpenedIndex(runId) {
    const key = this.lastOpened.get(runId);
    if (key === undefined) return -1;
    this.lastOpened.delete(runId);
    return this.lists.get(runId)?.keys().indexOf(key) ?? -1;
  }
}
