// Jobs: submit, look at, cancel, continue, wait for.
import { ApiError } from "./errors.js";
import { piece } from "./line.js";
import { pollUntilDone } from "./polling.js";
import { backoff, sleep } from "./waiting.js";
const TRIES = 4;
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 10_000;
export function jobs(line) {
    const get = (jobId, { signal } = {}) => line.ask(`/api/jobs/${piece(jobId)}`, { signal });
    return {
        get,
        async submit(jobType, params, { idempotencyKey, signal } = {}) {
            const headers = { "Idempotency-Key": idempotencyKey ?? randomKey() };
            const body = { job_type: jobType, params };
            const asked = { method: "POST", body, headers, signal };
            const { id } = await insist(() => line.ask("/api/jobs", asked), signal);
            return insist(() => get(id, { signal }), signal);
        },
        list: (status, { signal, ...query } = {}) => line.ask("/api/jobs", { query: { status: status, ...query }, signal }),
        async cancel(jobId, { signal } = {}) {
            await line.ask(`/api/jobs/${piece(jobId)}/cancel`, { method: "POST", signal });
        },
        retry: (jobId, { signal } = {}) => line.ask(`/api/jobs/${piece(jobId)}/retry`, { method: "POST", signal }),
        attempts: (jobId, { signal } = {}) => line.ask(`/api/jobs/${piece(jobId)}/attempts`, { signal }),
        pollUntilDone: (jobId, onProgress, intervalMs = 2000, { signal } = {}) => pollUntilDone(() => get(jobId, { signal }), onProgress, intervalMs, signal),
    };
}
/** Some tries, while it is only the line or the server's health that is in the way. */
async function insist(ask, signal) {
    for (let tries = 1;; tries += 1) {
        try {
            return await ask();
        }
        catch (error) {
            if (!(error instanceof ApiError) || !error.isTransient || tries === TRIES)
                throw error;
            const ms = backoff(tries, FIRST_WAIT_MS, MAX_WAIT_MS);
            await sleep(Math.max(ms, Math.min(MAX_WAIT_MS, (error.retryAfter ?? 0) * 1000)), signal);
        }
    }
}
/** `crypto.randomUUID` is only there for pages that came by https. */
function randomKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
