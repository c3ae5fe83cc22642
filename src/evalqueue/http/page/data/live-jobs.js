// The current state of every job, pushed by the server, and the rate at which each one progresses.

import { isOver } from "../format/labels.js";
import { watchShared } from "./shared-watch.js";

/**
 * @typedef {import("../client/index.js").JobEvent} JobEvent
 * @typedef {import("../client/index.js").QueueEvent} QueueEvent
 * @typedef {{ at: number, current: number }} Sample
 */

const RATE_WINDOW_MS = 15_000;
const MIN_RATE_WINDOW_MS = 1_000; // over less time a rate is noise
const MAX_JOBS = 5_000;

export class LiveJobs {
  /**
   * @param {import("../client/index.js").Client} api
   * @param {() => void} onChange
   * @param {(error: unknown) => void} onEnd the watch has ended with this error
   */
  constructor(api, onChange, onEnd) {
    this.api = api;
    this.onChange = onChange;
    this.onEnd = onEnd;
    /** @type {Map<string, JobEvent>} by job id, the newest revision of each */
    this.jobs = new Map();
    /** @type {Map<string, Sample[]>} by job id, progress over the rate window */
    this.samples = new Map();
    /** @type {import("../client/index.js").WatchState} */
    this.state = "reconnecting";
    /** @type {Set<(job: JobEvent) => void>} */
    this.jobListeners = new Set();
    /** @type {Set<() => void>} */
    this.resyncListeners = new Set();
    /** @type {{ stop(): void } | null} */
    this.watch = null;
  }

  /** @param {string} user tabs of one user share an event stream */
  start(user) {
    this.stop();
    const watch = watchShared(this.api, user, {
      job: (job) => this.update(job),
      queue: (queue) => this.updateQueue(queue),
      resync: () => {
        for (const resync of this.resyncListeners) resync();
      },
      state: (state) => {
        this.state = state;
        this.onChange();
      },
    });
    this.watch = watch;
    watch.done.catch((error) => {
      if (this.watch !== watch) return;
      this.watch = null;
      this.state = "reconnecting";
      this.onEnd(error);
    });
  }

  clear() {
    this.jobs.clear();
    this.samples.clear();
  }

  stop() {
    this.watch?.stop();
    this.watch = null;
  }

  /**
   * Take the state of a job. Revisions may arrive in any order: an older one is ignored.
   * @param {JobEvent} job
   */
  update(job) {
    const known = this.jobs.get(job.id);
    if (known && known.revision > job.revision) return;
    this.jobs.set(job.id, { ...known, ...job });
    this.dropOldest();
    this.addSample(job);
    for (const listener of this.jobListeners) listener(job);
    this.onChange();
  }

  /**
   * Take the positions of the first jobs of a queue. Other jobs keep the position they had.
   * @param {QueueEvent} queue
   */
  updateQueue({ ahead }) {
    for (const [id, before] of Object.entries(ahead)) {
      const job = this.jobs.get(id);
      if (job?.status === "queued") this.jobs.set(id, { ...job, ahead: before });
    }
    this.onChange();
  }

  /** Drop the finished job that was added first, if there are too many jobs. */
  dropOldest() {
    if (this.jobs.size <= MAX_JOBS) return;
    for (const [id, { status }] of this.jobs) {
      if (isOver(status)) {
        this.jobs.delete(id);
        return;
      }
    }
  }

  /**
   * Call `job` on every change of a job, and `resync` when changes may have been missed, until the
   * signal is aborted.
   * @param {AbortSignal} signal
   * @param {{ job?: (job: JobEvent) => void, resync?: () => void }} listeners
   */
  listen(signal, { job, resync }) {
    if (job) {
      this.jobListeners.add(job);
      signal.addEventListener("abort", () => this.jobListeners.delete(job));
    }
    if (resync) {
      this.resyncListeners.add(resync);
      signal.addEventListener("abort", () => this.resyncListeners.delete(resync));
    }
  }

  /** @param {JobEvent} job */
  addSample({ id, status, progress: { current } }) {
    if (status !== "running") {
      this.samples.delete(id);
      return;
    }
    const now = performance.now();
    const recent = (this.samples.get(id) ?? []).filter(({ at }) => now - at < RATE_WINDOW_MS);
    if (recent.at(-1)?.current !== current) recent.push({ at: now, current });
    this.samples.set(id, recent);
  }

  /**
   * Items per second over the rate window, and the seconds left at this rate. Null: not known yet.
   * @param {JobEvent} job
   * @returns {{ ratePerSecond: number | null, secondsLeft: number | null }}
   */
  pace({ id, status, progress }) {
    const unknown = { ratePerSecond: null, secondsLeft: null };
    const samples = this.samples.get(id) ?? [];
    const [first, last] = [samples[0], samples.at(-1)];
    if (status !== "running" || !first || !last) return unknown;
    if (last.at - first.at < MIN_RATE_WINDOW_MS) return unknown;
    const ratePerSecond = ((last.current - first.current) * 1000) / (last.at - first.at);
    if (ratePerSecond <= 0) return unknown;
    const itemsLeft = Math.max(0, progress.total - progress.current);
    return { ratePerSecond, secondsLeft: progress.total ? itemsLeft / ratePerSecond : null };
  }
}
