import { ApiError } from "./errors.js";
import { backoff, sleep } from "./waiting.js";
import { isOver } from "./watch.js";
const MAX_WAIT_MS = 60_000;
/** How long a server may be away before that is an error. */
const PATIENCE_MS = 10 * 60_000;
/** Ask for a job until it is over. What passes by itself is waited out, what does not is thrown. */
export async function pollUntilDone(get, onProgress, intervalMs, signal) {
    let failures = 0;
    let failingSince = 0;
    for (;;) {
        let waitMs = intervalMs;
        try {
            const job = await get();
            failures = 0;
            onProgress?.(job);
            if (isOver(job))
                return job;
        }
        catch (error) {
            if (!(error instanceof ApiError) || !error.isTransient)
                throw error;
            failures += 1;
            if (failures === 1)
                failingSince = performance.now();
            if (performance.now() - failingSince > PATIENCE_MS)
                throw error;
            const ms = backoff(failures, Math.max(intervalMs, 100), MAX_WAIT_MS);
            waitMs = Math.max(ms, (error.retryAfter ?? 0) * 1000);
        }
        await sleep(waitMs, signal);
    }
}
