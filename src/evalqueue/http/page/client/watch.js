// Watches of one job until it ends, and of all jobs.
import { ApiError } from "./errors.js";
import { callListener, Subscription, } from "./subscription.js";
import { pathSegment } from "./transport.js";
import { linkedController } from "./timers.js";
const OVER = new Set(["completed", "failed", "cancelled"]);
/** Jobs whose last revision is kept when all jobs are watched. */
const MAX_JOBS = 10_000;
const POLLED_JOBS = 100;
const LARGE_BATCH = 100; // items
const MAX_WAIT_MS = 15_000;
/** Whether a job has ended: such a status never changes. */
export function isOver(job) {
    return OVER.has(job.status);
}
export function watch(transport, jobId, onChange, options = {}) {
    const source = new JobSource(transport, jobId, onChange);
    return startWatch(transport, source, options, () => source.last);
}
export function watchAll(transport, onChange, onResync, options = {}) {
    return startWatch(transport, new AllJobsSource(transport, onChange, onResync, options.onQueue), options, () => { });
}
function startWatch(transport, source, options, result) {
    const { controller, release } = linkedController(options.signal);
    const done = new Subscription(transport, source, options)
        .run(controller.signal)
        .then(result)
        .finally(release);
    done.catch(() => { }); // a watch whose `done` is not used causes no unhandled rejection
    const stop = () => controller.abort(new DOMException("The watch was stopped", "AbortError"));
    return { stop, done };
}
/** Milliseconds until the next poll of a job. */
function pollDelay(job, { pollMs }) {
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
class Revisions {
    #onChange;
    #seen = new Map();
    constructor(onChange) {
        this.#onChange = onChange;
    }
    publish(job) {
        const revision = job.revision ?? 0; // absent in the responses of old servers
        const text = JSON.stringify(job);
        const seen = this.#seen.get(job.id);
        if (seen && (seen.revision > revision || seen.text === text))
            return;
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
class JobSource {
    path;
    last = null;
    #transport;
    #jobId;
    #revisions;
    constructor(transport, jobId, onChange) {
        this.#transport = transport;
        this.#jobId = jobId;
        this.path = `/api/jobs/${pathSegment(jobId)}/events`;
        this.#revisions = new Revisions((job) => {
            this.last = job;
            onChange(job);
        });
    }
    onOpen() { } // the first event of each stream is the current state
    onEvent(event) {
        if (event.type !== "job")
            return "continue";
        const job = parseJob(event.data);
        if (!job || job.id !== this.#jobId.toLowerCase() || !("params" in job))
            return "invalid";
        return this.#publish(job) ? "done" : "continue";
    }
    async poll(signal, timing) {
        const response = await this.#transport.request(`/api/jobs/${pathSegment(this.#jobId)}`, { signal });
        signal.throwIfAborted();
        if (!isJob(response))
            throw new ApiError(200, "The response is not a job");
        const job = response;
        return this.#publish(job) ? null : pollDelay(job, timing);
    }
    /** Whether the job has ended. */
    #publish(job) {
        this.#revisions.publish(job);
        return this.last !== null && isOver(this.last);
    }
}
class AllJobsSource {
    path = "/api/events";
    #transport;
    #revisions;
    #onResync;
    #onQueue;
    constructor(transport, onChange, onResync, onQueue = () => { }) {
        this.#transport = transport;
        this.#revisions = new Revisions(onChange);
        this.#onResync = onResync;
        this.#onQueue = onQueue;
    }
    onOpen(hasGap) {
        if (hasGap)
            callListener(this.#onResync);
    }
    onEvent(event) {
        switch (event.type) {
            case "resync":
                callListener(this.#onResync);
                return "continue";
            case "queue": {
                const queue = parseQueue(event.data);
                if (!queue)
                    return "invalid";
                callListener(() => this.#onQueue(queue));
                return "continue";
            }
            case "job": {
                const job = parseJob(event.data);
                if (!job)
                    return "invalid";
                this.#revisions.publish(job);
                return "continue";
            }
            default:
                return "continue";
        }
    }
    /** Reads the newest jobs only: all changes are available from a stream alone. */
    async poll(signal, { pollMs }) {
        const query = { limit: POLLED_JOBS };
        const response = await this.#transport.request("/api/jobs", {
            query,
            signal,
        });
        signal.throwIfAborted();
        if (!Array.isArray(response) || !response.every(isJob)) {
            throw new ApiError(200, "The response is not a list of jobs");
        }
        for (const { params: _params, result: _result, ...job } of response.reverse()) {
            if (!signal.aborted)
                this.#revisions.publish(job); // a listener may stop the watch
        }
        return pollMs + 3_000;
    }
}
/** The job of an event. Null: the data is no job. */
function parseJob(data) {
    try {
        const value = JSON.parse(data);
        return isJob(value) ? value : null;
    }
    catch {
        return null;
    }
}
function parseQueue(data) {
    try {
        const value = JSON.parse(data);
        const isQueue = typeof value?.queue === "string" && typeof value.ahead === "object";
        return isQueue && value.ahead !== null ? value : null;
    }
    catch {
        return null;
    }
}
function isJob(value) {
    const job = value;
    return (typeof job === "object" &&
        typeof job?.id === "string" &&
        typeof job.status === "string" &&
        typeof job.progress === "object" &&
        job.progress !== null &&
        ["number", "undefined"].includes(typeof job.revision));
}
