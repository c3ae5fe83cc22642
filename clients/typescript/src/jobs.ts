// Jobs: submit, read, cancel, retry, wait for.
import { ApiError } from "./errors.js";
import { type Transport, pathSegment } from "./transport.js";
import { pollUntilDone } from "./polling.js";
import type { Attempt, Job, JobStatus, RetriedJob, SubmittedJob } from "./types.js";
import { backoff, sleep } from "./timers.js";

export interface Abortable {
  signal?: AbortSignal | undefined;
}

export interface SubmitOptions extends Abortable {
  /**
   * Submissions with the same key are one job, whenever they are sent. Default: a random key, which
   * `submit` repeats lost requests with. Keep one of your own (`randomKey()`) to submit again after
   * an error without starting a second job.
   */
  idempotencyKey?: string | undefined;
}

export interface ListJobs extends Abortable {
  job_type?: string | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface JobsApi {
  /** Submit a job. A request that gets lost is sent again, and does not create a second job. */
  submit(jobType: string, params: Record<string, unknown>, options?: SubmitOptions): Promise<Job>;
  /** Jobs, newest first. */
  list(status?: string, options?: ListJobs): Promise<Job[]>;
  get(jobId: string, options?: Abortable): Promise<Job>;
  /** Final once it returns. */
  cancel(jobId: string, options?: Abortable): Promise<void>;
  /** A new job that continues one that ended with work left. */
  retry(jobId: string, options?: Abortable): Promise<RetriedJob>;
  /** All attempts so far, oldest first. */
  attempts(jobId: string, options?: Abortable): Promise<Attempt[]>;
  /** Polls a job until it ends. `client.watch` receives changes instead. */
  pollUntilDone(
    jobId: string,
    onProgress?: (job: Job) => void,
    intervalMs?: number,
    options?: Abortable,
  ): Promise<Job>;
}

const MAX_TRIES = 4;
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 10_000;

export function jobs(transport: Transport): JobsApi {
  const get = (jobId: string, { signal }: Abortable = {}) =>
    transport.request<Job>(`/api/jobs/${pathSegment(jobId)}`, { signal });
  return {
    get,
    async submit(jobType, params, { idempotencyKey, signal } = {}) {
      const headers = { "Idempotency-Key": idempotencyKey ?? randomKey() };
      const body = { job_type: jobType, params };
      const request = { method: "POST", body, headers, signal } as const;
      const { id } = await withRetries(
        () => transport.request<SubmittedJob>("/api/jobs", request),
        signal,
      );
      return withRetries(() => get(id, { signal }), signal);
    },
    list: (status, { signal, ...query } = {}) =>
      transport.request("/api/jobs", {
        query: { status: status as JobStatus, ...query },
        signal,
      }),
    async cancel(jobId, { signal } = {}) {
      await transport.request(`/api/jobs/${pathSegment(jobId)}/cancel`, {
        method: "POST",
        signal,
      });
    },
    retry: (jobId, { signal } = {}) =>
      transport.request(`/api/jobs/${pathSegment(jobId)}/retry`, {
        method: "POST",
        signal,
      }),
    attempts: (jobId, { signal } = {}) =>
      transport.request(`/api/jobs/${pathSegment(jobId)}/attempts`, { signal }),
    pollUntilDone: (jobId, onProgress, intervalMs = 2000, { signal } = {}) =>
      pollUntilDone(() => get(jobId, { signal }), onProgress, intervalMs, signal),
  };
}

/** Sends a request again after transient errors, a few times. */
async function withRetries<Result>(
  send: () => Promise<Result>,
  signal: AbortSignal | undefined,
): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isTransient || tries === MAX_TRIES) throw error;
      const ms = backoff(tries, FIRST_WAIT_MS, MAX_WAIT_MS);
      await sleep(Math.max(ms, Math.min(MAX_WAIT_MS, (error.retryAfter ?? 0) * 1000)), signal);
    }
  }
}

/** `crypto.randomUUID` exists on https pages only. */
export function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
