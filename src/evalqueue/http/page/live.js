// What every job is doing now, pushed by the server; and how fast, which only a watcher knows.

import { isOver } from "./verdicts.js";

/**
 * @typedef {import("./client/index.js").JobEvent} JobEvent
 * @typedef {import("./client/index.js").QueueEvent} QueueEvent
 * @typedef {{ at: number, current: number }} Sample
 */

const WINDOW_MS = 15_000; // what a rate is measured over
const LEAST_MS = 1_000; // less than this says nothing about a rate
const REMEMBERED = 5_000; // jobs

export class Live {
  /**
   * @param {import("./client/index.js").Client} api
   * @param {() => void} changed  something is to be shown anew
   * @param {(error: unknown) => void} ended  nothing is told any more, because of this
   */
  constructor(api, changed, ended) {
    this.ended = ended;
    this.api = api;
    this.changed = changed;
    /** @type {Map<string, JobEvent>} the latest that is known of each job */
    this.jobs = new Map();
    /** @type {Map<string, Sample[]>} */
    this.samples = new Map();
    /** @type {import("./client/index.js").WatchState} */
    this.state = "reconnecting";
    /** @type {Set<(job: JobEvent) => void>} */
    this.listeners = new Set();
    /** @type {Set<() => void>} */
    this.readers = new Set();
    /** @type {{ stop(): void } | null} */
    this.watching = null;
  }

  start() {
    this.stop();
    const watching = this.api.watchAll(
      (job) => this.take(job),
      () => this.readers.forEach((read) => read()),
      {
        onState: (state) => {
          this.state = state;
          this.changed();
        },
        onQueue: (queue) => this.move(queue),
      },
    );
    this.watching = watching;
    watching.done.catch((error) => {
      if (this.watching !== watching) return;
      this.watching = null;
      this.state = "reconnecting";
      this.ended(error);
    });
  }

  /** Nothing is known any more. */
  clear() {
    this.jobs.clear();
    this.samples.clear();
  }

  stop() {
    this.watching?.stop();
    this.watching = null;
  }

  /** What the server said of a job, in whatever order it arrives. @param {JobEvent} job */
  take(job) {
    const known = this.jobs.get(job.id);
    if (known && known.revision > job.revision) return;
    this.jobs.set(job.id, { ...known, ...job });
    this.forget();
    this.measure(job);
    this.listeners.forEach((listener) => listener(job));
    this.changed();
  }

  /** A queue moves on. Whoever is not among its first keeps what is known. @param {QueueEvent} queue */
  move({ ahead }) {
    for (const [id, before] of Object.entries(ahead)) {
      const job = this.jobs.get(id);
      if (job?.status === "queued") this.jobs.set(id, { ...job, ahead: before });
    }
    this.changed();
  }

  /** Those that have been over for longest, when there are too many. */
  forget() {
    if (this.jobs.size <= REMEMBERED) return;
    for (const [id, { status }] of this.jobs) {
      if (isOver(status)) {
        this.jobs.delete(id);
        return;
      }
    }
  }

  /**
   * Hear of every change, and of gaps in hearing, until the signal says stop.
   * @param {AbortSignal} signal @param {{ job?: (job: JobEvent) => void, resync?: () => void }} heard
   */
  listen(signal, { job, resync }) {
    if (job) {
      this.listeners.add(job);
      signal.addEventListener("abort", () => this.listeners.delete(job));
    }
    if (resync) {
      this.readers.add(resync);
      signal.addEventListener("abort", () => this.readers.delete(resync));
    }
  }

  /** @param {JobEvent} job */
  measure({ id, status, progress: { current } }) {
    if (status !== "running") {
      this.samples.delete(id);
      return;
    }
    const now = performance.now();
    const kept = (this.samples.get(id) ?? []).filter(({ at }) => now - at < WINDOW_MS);
    if (kept.at(-1)?.current !== current) kept.push({ at: now, current });
    this.samples.set(id, kept);
  }

  /**
   * Items a second lately, and the seconds that are left at this rate. Null: nobody can say yet.
   * @param {JobEvent} job
   */
  pace({ id, status, progress }) {
    const samples = this.samples.get(id) ?? [];
    const [first, last] = [samples[0], samples.at(-1)];
    if (status !== "running" || !first || !last || last.at - first.at < LEAST_MS)
      return { rate: null, eta: null };
    const rate = ((last.current - first.current) * 1000) / (last.at - first.at);
    const left = Math.max(0, progress.total - progress.current);
    return rate > 0
      ? { rate, eta: progress.total ? left / rate : null }
      : { rate: null, eta: null };
  }
}
