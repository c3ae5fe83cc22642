// Polling of one job until it ends.
import { ApiError } from "./errors.js";
import type { Job } from "./types.js";
import { backoff, sleep } from "./timers.js";
import { isOver } from "./watch.js";

const MAX_WAIT_MS = 60_000;

/** Transient errors for longer than this are thrown. */
const MAX_OUTAGE_MS = 10 * 60_000;

/** Polls a job until it ends. Transient errors are retried, others are thrown. */
export async function pollUntilDone(
  get: () => Promise<Job>,
  onProgress: ((job: Job) => void) | undefined,
  intervalMs: number,
  signal: AbortSignal | undefined,
): Promise<Job> {
  let failures = 0;
  let failingSince = 0;
  for (;;) {
    let waitMs = intervalMs;
    try {
      const job = await get();
      failures = 0;
      onProgress?.(job);
      if (isOver(job)) return job;
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isTransient) throw error;
      failures += 1;
      if (failures === 1) failingSince = performance.now();
      if (performance.now() - failingSince > MAX_OUTAGE_MS) throw error;
      const ms = backoff(failures, Math.max(intervalMs, 100), MAX_WAIT_MS);
      waitMs = Math.max(ms, (error.retryAfter ?? 0) * 1000);
    }
    await sleep(waitMs, signal);
  }
}
