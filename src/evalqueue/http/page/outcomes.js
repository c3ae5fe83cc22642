// The results of a run, as they come: read in pages, kept by id, read anew when something is missing.

import { steady } from "./steady.js";

const PAGE = 5_000;
const LEAST_MS = 500; // between two looks while a run goes on

/** @template {{ id: number }} Row */
export class Outcomes {
  /**
   * @param {(after: number, limit: number) => Promise<{ rows: Row[], total: number }>} page
   * @param {() => void} changed @param {(error: unknown) => void} failed @param {AbortSignal} signal
   */
  constructor(page, changed, failed, signal) {
    this.page = page;
    this.changed = changed;
    this.signal = signal;
    /** @type {Map<number, Row>} */
    this.rows = new Map();
    this.isRead = false;
    this.isStale = false;
    this.ask = steady(() => this.read(), { signal, restMs: LEAST_MS, failed });
  }

  /** @returns {Row[]} */
  get all() {
    return [...this.rows.values()];
  }

  /** There may be more; `anew`: and what is there may have changed. @param {{ anew?: boolean }} [how] */
  look({ anew = false } = {}) {
    this.isStale ||= anew;
    this.ask();
  }

  async read() {
    const anew = this.isStale;
    this.isStale = false;
    try {
      await this.readFrom(anew);
    } catch (error) {
      this.isStale ||= anew;
      throw error;
    }
  }

  /** @param {boolean} anew */
  async readFrom(anew) {
    const rows = anew ? new Map() : new Map(this.rows);
    let after = anew ? 0 : Math.max(0, ...rows.keys());
    let total = 0;
    for (;;) {
      const found = await this.page(after, PAGE);
      if (this.signal.aborted) return;
      found.rows.forEach((row) => rows.set(row.id, row));
      total = found.total;
      const last = found.rows.at(-1);
      if (!last || found.rows.length < PAGE) break;
      after = last.id;
    }
    this.rows = rows;
    this.isRead = true;
    // A row that was stored late has a lower id than one that was seen already.
    if (!anew && rows.size < total) this.look({ anew: true });
    this.changed();
  }
}
