// Watching one job until it is over, or all of them.
import { ApiError } from "./errors.js";
import { calling, Follow, type Source, type Timing, type WatchOptions } from "./follow.js";
import { type Line, piece } from "./line.js";
import type { ServerEvent } from "./sse.js";
import type { Job, JobEvent, QueueEvent } from "./types.js";
import { follower } from "./waiting.js";

/** A watch that has begun. */
export interface Watch<Told> {
  /** Nothing is told any more, and nothing keeps the process alive. */
  stop(): void;
  /** What it ends with. Rejects with an ApiError, or with an AbortError once it is stopped. */
  done: Promise<Told>;
}

/** Of a watch of all jobs. */
export interface WatchAllOptions extends WatchOptions {
  /** Told when a queue moves: nothing changes in a job whose turn comes nearer. */
  onQueue?: ((queue: QueueEvent) => void) | undefined;
}

const OVER: ReadonlySet<string> = new Set(["completed", "failed", "cancelled"]);

/** Jobs whose revisions are remembered when all of them are watched. */
const REMEMBERED = 10_000;

const LISTED = 100;
const LARGE_BATCH = 100; // items
const RETRY_MS = 15_000;

/** Whether a job has come to its end, which is for ever. */
export function isOver(job: { status: string }): boolean {
  return OVER.has(job.status);
}

export function watch(
  line: Line,
  jobId: string,
  onChange: (job: Job) => void,
  options: WatchOptions = {},
): Watch<Job> {
  const source = new OneJob(line, jobId, onChange);
  return begin(line, source, options, () => source.last as Job);
}

export function watchAll(
  line: Line,
  onChange: (job: JobEvent) => void,
  onResync: () => void,
  options: WatchAllOptions = {},
): Watch<void> {
  return begin(line, new AllJobs(line, onChange, onResync, options.onQueue), options, () => {});
}

function begin<Told>(
  line: Line,
  source: Source,
  options: WatchOptions,
  told: () => Told,
): Watch<Told> {
  const { controller, release } = follower(options.signal);
  const done = new Follow(line, source, options).run(controller.signal).then(told).finally(release);
  done.catch(() => {}); // who does not ask for it is not told
  const stop = () => controller.abort(new DOMException("The watch was stopped", "AbortError"));
  return { stop, done };
}

/** Milliseconds until it is worth asking again. */
export function interval(job: Job, { pollMs }: Timing): number {
  if (job.status === "running") {
    return pollMs + (job.progress.total > LARGE_BATCH ? 2_000 : 0);
  }
  if (job.scheduled_at != null) {
    const left = Date.parse(job.scheduled_at) - Date.now();
    return Math.max(pollMs, Math.min(RETRY_MS, Number.isNaN(left) ? RETRY_MS : left));
  }
  const ahead = job.ahead ?? 0;
  return pollMs + (ahead > 10 ? 4_000 : ahead > 3 ? 2_000 : 500);
}

/** Tells each change of a job once, and never an older one after a newer. */
class Newest<Told extends JobEvent> {
  readonly #onChange: (job: Told) => void;
  readonly #seen = new Map<string, { revision: number; text: string }>();

  constructor(onChange: (job: Told) => void) {
    this.#onChange = onChange;
  }

  tell(job: Told): void {
    const revision = job.revision ?? 0; // servers before revisions
    const text = JSON.stringify(job);
    const seen = this.#seen.get(job.id);
    if (seen && (seen.revision > revision || seen.text === text)) return;
    this.#seen.delete(job.id);
    this.#seen.set(job.id, { revision, text });
    if (this.#seen.size > REMEMBERED) {
      for (const oldest of this.#seen.keys()) {
        this.#seen.delete(oldest);
        break;
      }
    }
    calling(() => this.#onChange(job));
  }
}

class OneJob implements Source {
  readonly path: string;
  last: Job | null = null;
  readonly #line: Line;
  readonly #jobId: string;
  readonly #newest: Newest<Job>;

  constructor(line: Line, jobId: string, onChange: (job: Job) => void) {
    this.#line = line;
    this.#jobId = jobId;
    this.path = `/api/jobs/${piece(jobId)}/events`;
    this.#newest = new Newest((job) => {
      this.last = job;
      onChange(job);
    });
  }

  opened(): void {} // its first event says how things are

  take(event: ServerEvent): "more" | "over" | "unclear" {
    if (event.type !== "job") return "more";
    const job = jobOf(event.data);
    if (!job || job.id !== this.#jobId.toLowerCase() || !("params" in job)) return "unclear";
    return this.#told(job as Job) ? "over" : "more";
  }

  async poll(signal: AbortSignal, timing: Timing): Promise<number | null> {
    const told = await this.#line.ask<unknown>(`/api/jobs/${piece(this.#jobId)}`, { signal });
    signal.throwIfAborted();
    if (!isJob(told)) throw new ApiError(200, "The answer is no job");
    return this.#told(told as Job) ? null : interval(told as Job, timing);
  }

  #told(job: Job): boolean {
    this.#newest.tell(job);
    return this.last !== null && isOver(this.last);
  }
}

class AllJobs implements Source {
  readonly path = "/api/events";
  readonly #line: Line;
  readonly #newest: Newest<JobEvent>;
  readonly #onResync: () => void;
  readonly #onQueue: (queue: QueueEvent) => void;

  constructor(
    line: Line,
    onChange: (job: JobEvent) => void,
    onResync: () => void,
    onQueue: (queue: QueueEvent) => void = () => {},
  ) {
    this.#line = line;
    this.#newest = new Newest(onChange);
    this.#onResync = onResync;
    this.#onQueue = onQueue;
  }

  opened(hasMissed: boolean): void {
    if (hasMissed) calling(this.#onResync);
  }

  take(event: ServerEvent): "more" | "unclear" {
    switch (event.type) {
      case "resync":
        calling(this.#onResync);
        return "more";
      case "queue": {
        const queue = queueOf(event.data);
        if (!queue) return "unclear";
        calling(() => this.#onQueue(queue));
        return "more";
      }
      case "job": {
        const job = jobOf(event.data);
        if (!job) return "unclear";
        this.#newest.tell(job);
        return "more";
      }
      default:
        return "more";
    }
  }

  /** The newest jobs: more can't be had without a stream. */
  async poll(signal: AbortSignal, { pollMs }: Timing): Promise<number> {
    const told = await this.#line.ask<unknown>("/api/jobs", { query: { limit: LISTED }, signal });
    signal.throwIfAborted();
    if (!Array.isArray(told) || !told.every(isJob))
      throw new ApiError(200, "The answer is no list of jobs");
    for (const { params: _params, result: _result, ...job } of (told as Job[]).reverse()) {
      if (!signal.aborted) this.#newest.tell(job); // it may be stopped by what it tells
    }
    return pollMs + 3_000;
  }
}

/** What an event tells; null: nothing that could be a job. */
function jobOf(data: string): JobEvent | null {
  try {
    const value: unknown = JSON.parse(data);
    return isJob(value) ? value : null;
  } catch {
    return null;
  }
}

function queueOf(data: string): QueueEvent | null {
  try {
    const value = JSON.parse(data) as Partial<QueueEvent> | null;
    const isQueue = typeof value?.queue === "string" && typeof value.ahead === "object";
    return isQueue && value.ahead !== null ? (value as QueueEvent) : null;
  } catch {
    return null;
  }
}

function isJob(value: unknown): value is JobEvent {
  const job = value as Partial<JobEvent> | null;
  return (
    typeof job === "object" &&
    typeof job?.id === "string" &&
    typeof job.status === "string" &&
    typeof job.progress === "object" &&
    job.progress !== null &&
    ["number", "undefined"].includes(typeof job.revision)
  );
}
