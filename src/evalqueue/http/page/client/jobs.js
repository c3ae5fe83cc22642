// Jobs: submit, read, cancel, retry, wait for.
import { ApiError } from "./errors.js";
import { pathSegment } from "./transport.js";
import { pollUntilDone } from "./polling.js";
import { backoff, sleep } from "./timers.js";
const MAX_TRIES = 4;
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 10_000;
export function jobs(transport) {
    const get = (jobId, { signal } = {}) => transport.request(`/api/jobs/${pathSegment(jobId)}`, { signal });
    return {
        get,
        async submit(jobType, params, { idempotencyKey, signal } = {}) {
            const headers = { "Idempotency-Key": idempotencyKey ?? randomKey() };
            const body = { job_type: jobType, params };
            const request = { method: "POST", body, headers, signal };
            const { id } = await withRetries(() => transport.request("/api/jobs", request), signal);
            return withRetries(() => get(id, { signal }), signal);
        },
        list: (status, { signal, ...query } = {}) => transport.request("/api/jobs", {
            query: { status: status, ...query },
            signal,
        }),
        async cancel(jobId, { signal } = {}) {
            await transport.request(`/api/jobs/${pathSegment(jobId)}/cancel`, {
                method: "POST",
                signal,
            });
        },
        retry: (jobId, { signal } = {}) => transport.request(`/api/jobs/${pathSegment(jobId)}/retry`, {
            method: "POST",
            signal,
        }),
        attempts: (jobId, { signal } = {}) => transport.request(`/api/jobs/${pathSegment(jobId)}/attempts`, { signal }),
        pollUntilDone: (jobId, onProgress, intervalMs = 2000, { signal } = {}) => pollUntilDone(() => get(jobId, { signal }), onProgress, intervalMs, signal),
    };
}
/** Sends a request again after transient errors, a few times. */
async function withRetries(send, signal) {
    for (let tries = 1;; tries += 1) {
        try {
            return await send();
        }
        catch (error) {
            if (!(error instanceof ApiError) || !error.isTransient || tries === MAX_TRIES)
                throw error;
            const ms = backoff(tries, FIRST_WAIT_MS, MAX_WAIT_MS);
            await sleep(Math.max(ms, Math.min(MAX_WAIT_MS, (error.retryAfter ?? 0) * 1000)), signal);
        }
    }
}
/** `crypto.randomUUID` exists on https pages only. */
export function randomKey() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
