// The results of a run, read page by page while the run goes on.

import { refresher } from "./refresher.js";

const PAGE_SIZE = 5_000;
const MIN_INTERVAL_MS = 500;

/** @template {{ id: number }} Row */
export class PagedResults {
  /**
   * @param {(after: number, limit: number) => Promise<{ rows: Row[], total: number }>} fetchPage
   *   reads the rows with ids above `after`
   * @param {() => void} onChange
   * @param {(error: unknown) => void} onError
   * @param {AbortSignal} signal
   */
  constructor(fetchPage, onChange, onError, signal) {
    this.fetchPage = fetchPage;
    this.onChange = onChange;
    this.signal = signal;
    /** @type {Map<number, Row>} by id; replaced by a new map when anything changed */
    this.rows = new Map();
    this.isLoaded = false;
    this.mustReload = false;
    this.requestLoad = refresher(() => this.load(), {
      signal,
      minIntervalMs: MIN_INTERVAL_MS,
      onError,
    });
  }

  /** @returns {Row[]} */
  get all() {
    return [...this.rows.values()];
  }

  /**
   * Read rows that were added; with `reload`, read every row again, since rows may have changed.
   * @param {{ reload?: boolean }} [options]
   */
  refresh({ reload = false } = {}) {
    this.mustReload ||= reload;
    this.requestLoad();
  }

  async load() {
    const reload = this.mustReload;
    this.mustReload = false;
    try {
      await this.loadPages(reload);
    } catch (error) {
      this.mustReload ||= reload;
      throw error;
    }
  }

  /** @param {boolean} reload */
  async loadPages(reload) {
    const rows = reload ? new Map() : new Map(this.rows);
    let after = 0;
    for (const id of rows.keys()) after = Math.max(after, id);
    let total = 0;
    for (;;) {
      const page = await this.fetchPage(after, PAGE_SIZE);
      if (this.signal.aborted) return;
      for (const row of page.rows) rows.set(row.id, row);
      total = page.total;
      const last = page.rows.at(-1);
      if (!last || page.rows.length < PAGE_SIZE) break;
      after = last.id;
    }
    this.rows = rows;
    this.isLoaded = true;
    // A transaction that commits late adds a row with a lower id than rows already read.
    if (!reload && rows.size < total) this.refresh({ reload: true });
    this.onChange();
  }
}
