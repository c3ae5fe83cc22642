// Watches of one job until it ends, and of all jobs.
import { ApiError } from "./errors.js";
import {
  callListener,
  Subscription,
  type Source,
  type Timing,
  type WatchOptions,
} from "./subscription.js";
import { type Transport, pathSegment } from "./transport.js";
import type { ServerEvent } from "./sse.js";
import type { Job, JobEvent, QueueEvent } from "./types.js";
import { linkedController } from "./timers.js";

/** A watch in progress. */
export interface Watch<Result> {
  /** Ends the watch: no more calls, and nothing that keeps the process alive. */
  stop(): void;
  /** The result. Rejects with an ApiError, or with an AbortError once the watch is stopped. */
  done: Promise<Result>;
}

/** Options of a watch of all jobs. */
export interface WatchAllOptions extends WatchOptions {
  /** Called when a queue moves: `onChange` is not called when only a job's position changes. */
  onQueue?: ((queue: QueueEvent) => void) | undefined;
}

const OVER: ReadonlySet<string> = new Set(["completed", "failed", "cancelled"]);

/** Jobs whose last revision is kept when all jobs are watched. */
const MAX_JOBS = 10_000;

const POLLED_JOBS = 100;
const LARGE_BATCH = 100; // items
const MAX_WAIT_MS = 15_000;

/** Whether a job has ended: such a status never changes. */
export function isOver(job: { status: string }): boolean {
  return OVER.has(job.status);
}

export function watch(
  transport: Transport,
  jobId: string,
  onChange: (job: Job) => void,
  options: WatchOptions = {},
): Watch<Job> {
  const source = new JobSource(transport, jobId, onChange);
  return startWatch(transport, source, options, () => source.last as Job);
}

export function watchAll(
  transport: Transport,
  onChange: (job: JobEvent) => void,
  onResync: () => void,
  options: WatchAllOptions = {},
): Watch<void> {
  return startWatch(
    transport,
    new AllJobsSource(transport, onChange, onResync, options.onQueue),
    options,
    () => {},
  );
}

function startWatch<Result>(
  transport: Transport,
  source: Source,
  options: WatchOptions,
  result: () => Result,
): Watch<Result> {
  const { controller, release } = linkedController(options.signal);
  const done = new Subscription(transport, source, options)
    .run(controller.signal)
    .then(result)
    .finally(release);
  done.catch(() => {}); // a watch whose `done` is not used causes no unhandled rejection
  const stop = () => controller.abort(new DOMException("The watch was stopped", "AbortError"));
  return { stop, done };
}

/** Milliseconds until the next poll of a job. */
function pollDelay(job: Job, { pollMs }: Timing): number {
  if (job.status === "running") {
    return pollMs + (job.progress.total > LARGE_BATCH ? 2_000 : 0);
  }
  if (job.scheduled_at != null) {
    const left = Date.parse(job.scheduled_at) - Date.now();
    return Math.max(pollMs, Math.min(MAX_WAIT_MS, Number.isNaN(left) ? MAX_WAIT_MS : left));
  }
  const ahead = job.ahead ?? 0;
  return pollMs + (ahead > 10 ? 4_000 : ahead > 3 ? 2_000 : 500);
}

/** Calls its listener once for each change of a job, and never with an older revision. */
class Revisions<Event extends JobEvent> {
  readonly #onChange: (job: Event) => void;
  readonly #seen = new Map<string, { revision: number; text: string }>();

  constructor(onChange: (job: Event) => void) {
    this.#onChange = onChange;
  }

  publish(job: Event): void {
    const revision = job.revision ?? 0; // absent in the responses of old servers
    const text = JSON.stringify(job);
    const seen = this.#seen.get(job.id);
    if (seen && (seen.revision > revision || seen.text === text)) return;
    this.#seen.delete(job.id);
    this.#seen.set(job.id, { revision, text });
    if (this.#seen.size > MAX_JOBS) {
      for (const oldest of this.#seen.keys()) {
        this.#seen.delete(oldest);
        break;
      }
    }
    callListener(() => this.#onChange(job));
  }
}

class JobSource implements Source {
  readonly path: string;
  last: Job | null = null;
  readonly #transport: Transport;
  readonly #jobId: string;
  readonly #revisions: Revisions<Job>;

  constructor(transport: Transport, jobId: string, onChange: (job: Job) => void) {
    this.#transport = transport;
    this.#jobId = jobId;
    this.path = `/api/jobs/${pathSegment(jobId)}/events`;
    this.#revisions = new Revisions((job) => {
      this.last = job;
      onChange(job);
    });
  }

  onOpen(): void {} // the first event of each stream is the current state

  onEvent(event: ServerEvent): "continue" | "done" | "invalid" {
    if (event.type !== "job") return "continue";
    const job = parseJob(event.data);
    if (!job || job.id !== this.#jobId.toLowerCase() || !("params" in job)) return "invalid";
    return this.#publish(job as Job) ? "done" : "continue";
  }

  async poll(signal: AbortSignal, timing: Timing): Promise<number | null> {
    const response = await this.#transport.request<unknown>(
      `/api/jobs/${pathSegment(this.#jobId)}`,
      { signal },
    );
    signal.throwIfAborted();
    if (!isJob(response)) throw new ApiError(200, "The response is not a job");
    const job = response as Job;
    return this.#publish(job) ? null : pollDelay(job, timing);
  }

  /** Whether the job has ended. */
  #publish(job: Job): boolean {
    this.#revisions.publish(job);
    return this.last !== null && isOver(this.last);
  }
}

class AllJobsSource implements Source {
  readonly path = "/api/events";
  readonly #transport: Transport;
  readonly #revisions: Revisions<JobEvent>;
  readonly #onResync: () => void;
  readonly #onQueue: (queue: QueueEvent) => void;

  constructor(
    transport: Transport,
    onChange: (job: JobEvent) => void,
    onResync: () => void,
    onQueue: (queue: QueueEvent) => void = () => {},
  ) {
    this.#transport = transport;
    this.#revisions = new Revisions(onChange);
    this.#onResync = onResync;
    this.#onQueue = onQueue;
  }

  onOpen(hasGap: boolean): void {
    if (hasGap) callListener(this.#onResync);
  }

  onEvent(event: ServerEvent): "continue" | "invalid" {
    switch (event.type) {
      case "resync":
        callListener(this.#onResync);
        return "continue";
      case "queue": {
        const queue = parseQueue(event.data);
        if (!queue) return "invalid";
        callListener(() => this.#onQueue(queue));
        return "continue";
      }
      case "job": {
        const job = parseJob(event.data);
        if (!job) return "invalid";
        this.#revisions.publish(job);
        return "continue";
      }
      default:
        return "continue";
    }
  }

  /** Reads the newest jobs only: all changes are available from a stream alone. */
  async poll(signal: AbortSignal, { pollMs }: Timing): Promise<number> {
    const query = { limit: POLLED_JOBS };
    const response = await this.#transport.request<unknown>("/api/jobs", {
      query,
      signal,
    });
    signal.throwIfAborted();
    if (!Array.isArray(response) || !response.every(isJob)) {
      throw new ApiError(200, "The response is not a list of jobs");
    }
    for (const { params: _params, result: _result, ...job } of (response as Job[]).reverse()) {
      if (!signal.aborted) this.#revisions.publish(job); // a listener may stop the watch
    }
    return pollMs + 3_000;
  }
}

/** The job of an event. Null: the data is no job. */
function parseJob(data: string): JobEvent | null {
  try {
    const value: unknown = JSON.parse(data);
    return isJob(value) ? value : null;
  } catch {
    return null;
  }
}

function parseQueue(data: string): QueueEvent | null {
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
