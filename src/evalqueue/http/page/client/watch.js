// Watching one job until it is over, or all of them.
import { ApiError } from "./errors.js";
import { calling, Follow } from "./follow.js";
import { piece } from "./line.js";
import { follower } from "./waiting.js";
const OVER = new Set(["completed", "failed", "cancelled"]);
/** Jobs whose revisions are remembered when all of them are watched. */
const REMEMBERED = 10_000;
const LISTED = 100;
const LARGE_BATCH = 100; // items
const RETRY_MS = 15_000;
/** Whether a job has come to its end, which is for ever. */
export function isOver(job) {
    return OVER.has(job.status);
}
export function watch(line, jobId, onChange, options = {}) {
    const source = new OneJob(line, jobId, onChange);
    return begin(line, source, options, () => source.last);
}
export function watchAll(line, onChange, onResync, options = {}) {
    return begin(line, new AllJobs(line, onChange, onResync, options.onQueue), options, () => { });
}
function begin(line, source, options, told) {
    const { controller, release } = follower(options.signal);
    const done = new Follow(line, source, options).run(controller.signal).then(told).finally(release);
    done.catch(() => { }); // who does not ask for it is not told
    const stop = () => controller.abort(new DOMException("The watch was stopped", "AbortError"));
    return { stop, done };
}
/** Milliseconds until it is worth asking again. */
export function interval(job, { pollMs }) {
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
class Newest {
    #onChange;
    #seen = new Map();
    constructor(onChange) {
        this.#onChange = onChange;
    }
    tell(job) {
        const revision = job.revision ?? 0; // servers before revisions
        const text = JSON.stringify(job);
        const seen = this.#seen.get(job.id);
        if (seen && (seen.revision > revision || seen.text === text))
            return;
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
class OneJob {
    path;
    last = null;
    #line;
    #jobId;
    #newest;
    constructor(line, jobId, onChange) {
        this.#line = line;
        this.#jobId = jobId;
        this.path = `/api/jobs/${piece(jobId)}/events`;
        this.#newest = new Newest((job) => {
            this.last = job;
            onChange(job);
        });
    }
    opened() { } // its first event says how things are
    take(event) {
        if (event.type !== "job")
            return "more";
        const job = jobOf(event.data);
        if (!job || job.id !== this.#jobId.toLowerCase() || !("params" in job))
            return "unclear";
        return this.#told(job) ? "over" : "more";
    }
    async poll(signal, timing) {
        const told = await this.#line.ask(`/api/jobs/${piece(this.#jobId)}`, { signal });
        signal.throwIfAborted();
        if (!isJob(told))
            throw new ApiError(200, "The answer is no job");
        return this.#told(told) ? null : interval(told, timing);
    }
    #told(job) {
        this.#newest.tell(job);
        return this.last !== null && isOver(this.last);
    }
}
class AllJobs {
    path = "/api/events";
    #line;
    #newest;
    #onResync;
    #onQueue;
    constructor(line, onChange, onResync, onQueue = () => { }) {
        this.#line = line;
        this.#newest = new Newest(onChange);
        this.#onResync = onResync;
        this.#onQueue = onQueue;
    }
    opened(hasMissed) {
        if (hasMissed)
            calling(this.#onResync);
    }
    take(event) {
        switch (event.type) {
            case "resync":
                calling(this.#onResync);
                return "more";
            case "queue": {
                const queue = queueOf(event.data);
                if (!queue)
                    return "unclear";
                calling(() => this.#onQueue(queue));
                return "more";
            }
            case "job": {
                const job = jobOf(event.data);
                if (!job)
                    return "unclear";
                this.#newest.tell(job);
                return "more";
            }
            default:
                return "more";
        }
    }
    /** The newest jobs: more can't be had without a stream. */
    async poll(signal, { pollMs }) {
        const told = await this.#line.ask("/api/jobs", { query: { limit: LISTED }, signal });
        signal.throwIfAborted();
        if (!Array.isArray(told) || !told.every(isJob))
            throw new ApiError(200, "The answer is no list of jobs");
        for (const { params: _params, result: _result, ...job } of told.reverse()) {
            if (!signal.aborted)
                this.#newest.tell(job); // it may be stopped by what it tells
        }
        return pollMs + 3_000;
    }
}
/** What an event tells; null: nothing that could be a job. */
function jobOf(data) {
    try {
        const value = JSON.parse(data);
        return isJob(value) ? value : null;
    }
    catch {
        return null;
    }
}
function queueOf(data) {
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
