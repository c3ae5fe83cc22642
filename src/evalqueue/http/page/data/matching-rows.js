// Which rows of a run the server finds: by a score, or by a text of the conversation.

import { refresher } from "./refresher.js";

const PAGE_SIZE = 5_000;
const MIN_INTERVAL_MS = 300; // between two searches while somebody types

/**
 * @typedef {object} Criteria what the server compares; of each, "" is not compared
 * @property {string} [evaluator]
 * @property {string} [name]
 * @property {string} [value]
 * @property {string} [expected] the label on record
 * @property {string} [text]
 */

/** @typedef {{ id: number, excerpt: string | null }} Row `excerpt`: the words around the text */

export class MatchingRows {
  /**
   * @param {(criteria: Criteria, after: number, limit: number) => Promise<Row[]>} fetchPage
   *   reads the matching rows with ids above `after`
   * @param {() => void} onChange
   * @param {(error: unknown) => void} onError
   * @param {AbortSignal} signal
   */
  constructor(fetchPage, onChange, onError, signal) {
    this.fetchPage = fetchPage;
    this.onChange = onChange;
    this.signal = signal;
    /** @type {Criteria} */
    this.criteria = {};
    /** @type {Map<number, Row> | null} by id; null: not known yet, or nothing is compared */
    this.rows = null;
    this.requestLoad = refresher(() => this.load(), {
      signal,
      minIntervalMs: MIN_INTERVAL_MS,
      onError,
    });
  }

  get isActive() {
    return Object.values(this.criteria).some(Boolean);
  }

  /** @param {Criteria} criteria */
  find(criteria) {
    this.criteria = criteria;
    this.rows = null;
    if (this.isActive) this.requestLoad();
  }

  /** Search again: rows were added or have changed. */
  refresh() {
    if (this.isActive) this.requestLoad();
  }

  /** @param {{ id: number }} row */
  has({ id }) {
    return this.rows?.has(id) ?? false;
  }

  /** The words around the text in a row; empty: it has none. @param {{ id: number }} row */
  excerpt({ id }) {
    return this.rows?.get(id)?.excerpt ?? "";
  }

  async load() {
    const { criteria } = this;
    const found = new Map();
    for (let after = 0; ;) {
      const rows = await this.fetchPage(criteria, after, PAGE_SIZE);
      if (this.signal.aborted || criteria !== this.criteria) return; // another search was asked for
      for (const row of rows) found.set(row.id, row);
      const last = rows.at(-1);
      if (!last || rows.length < PAGE_SIZE) break;
      after = last.id;
    }
    this.rows = found;
    this.onChange();
  }
}
