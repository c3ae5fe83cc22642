// The results of a run, as they come: read in pages, kept by id, read anew when something is missing.

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
    this.failed = failed;
    this.signal = signal;
    /** @type {Map<number, Row>} */
    this.rows = new Map();
    this.isRead = false;
    this.isReading = false;
    this.isWanted = false;
    this.isStale = false;
  }

  /** @returns {Row[]} */
  get all() {
    return [...this.rows.values()];
  }

  /** There may be more; `anew`: and what is there may have changed. @param {{ anew?: boolean }} [how] */
  look({ anew = false } = {}) {
    this.isStale ||= anew;
    this.isWanted = true;
    if (!this.isReading) void this.readAll();
  }

  async readAll() {
    this.isReading = true;
    try {
      while (this.isWanted && !this.signal.aborted) {
        this.isWanted = false;
        await this.read();
        await new Promise((done) => setTimeout(done, LEAST_MS));
      }
    } catch (error) {
      if (!this.signal.aborted) this.failed(error);
    } finally {
      this.isReading = false;
    }
  }

  async read() {
    const anew = this.isStale;
    this.isStale = false;
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
