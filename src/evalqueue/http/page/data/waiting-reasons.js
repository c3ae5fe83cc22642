// Why jobs wait: their queue is paused, or no worker is alive that takes them. It is asked for only
// while a view shows a job that waits.

import { isAborted } from "./errors.js";

const INTERVAL_MS = 5_000;
const SILENT_SECONDS = 30; // afterwards a worker does not count as alive

/** @typedef {{ queue: string, job_type: string }} WaitingJob */

export class WaitingReasons {
  /**
   * @param {import("../client/index.js").Client} api
   * @param {() => void} onChange
   * @param {(error: unknown) => void} onError
   */
  constructor(api, onChange, onError) {
    this.api = api;
    this.onChange = onChange;
    this.onError = onError;
    /** @type {import("../client/index.js").Queue[]} */
    this.queues = [];
    /** @type {import("../client/index.js").Worker[] | null} null: not known yet */
    this.workers = null;
    this.askedAt = -Infinity;
  }

  /**
   * Why a job that is due waits; empty: workers are busy, or it is not known yet.
   * @param {WaitingJob} job
   */
  of({ queue, job_type }) {
    this.refresh();
    if (this.queues.find(({ name }) => name === queue)?.paused_at) {
      return `waiting: the queue ${queue} is paused`;
    }
    if (!this.workers) return "";
    const alive = this.workers.filter(
      (each) => each.silent_for_seconds < SILENT_SECONDS && !each.draining,
    );
    if (!alive.length) return "waiting: no worker is alive";
    const takes = alive.some(
      (each) => (!each.queues || each.queues.includes(queue)) && each.job_types.includes(job_type),
    );
    return takes ? "" : `waiting: no worker that is alive takes ${job_type} from ${queue}`;
  }

  /** Ask again if the answer is old. */
  refresh() {
    const now = performance.now();
    if (document.hidden || now - this.askedAt < INTERVAL_MS) return;
    this.askedAt = now;
    void this.ask();
  }

  async ask() {
    try {
      [this.queues, this.workers] = await Promise.all([
        this.api.queues.list(),
        this.api.workers.list(),
      ]);
      this.onChange();
    } catch (error) {
      if (!isAborted(error)) this.onError(error);
    }
  }
}
