// Jobs: submit, look at, cancel, continue, wait for.
import { ApiError } from "./errors.js";
import { type Line, piece } from "./line.js";
import { pollUntilDone } from "./polling.js";
import type { Attempt, Job, JobStatus, RetriedJob, SubmittedJob } from "./types.js";
import { backoff, sleep } from "./waiting.js";

export interface Abortable {
  signal?: AbortSignal | undefined;
}

export interface SubmitOptions extends Abortable {
  /** The same key is the same job, however often it is submitted. Default: one of its own. */
  idempotencyKey?: string | undefined;
}

export interface ListJobs extends Abortable {
  job_type?: string | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface JobsApi {
  /** Submit a job, and see it. A request that gets lost is sent again: it is one job all the same. */
  submit(jobType: string, params: Record<string, unknown>, options?: SubmitOptions): Promise<Job>;
  /** Jobs, newest first. */
  list(status?: string, options?: ListJobs): Promise<Job[]>;
  get(jobId: string, options?: Abortable): Promise<Job>;
  /** Final once it returns, whatever the worker does. */
  cancel(jobId: string, options?: Abortable): Promise<void>;
  /** A new job that goes on with one that is over and did not get everything done. */
  retry(jobId: string, options?: Abortable): Promise<RetriedJob>;
  /** What was tried so far, oldest first. */
  attempts(jobId: string, options?: Abortable): Promise<Attempt[]>;
  /** Ask for a job until it is over. `client.watch` is told instead. */
  pollUntilDone(
    jobId: string,
    onProgress?: (job: Job) => void,
    intervalMs?: number,
    options?: Abortable,
  ): Promise<Job>;
}

const TRIES = 4;
const FIRST_WAIT_MS = 500;
const MAX_WAIT_MS = 10_000;

export function jobs(line: Line): JobsApi {
  const get = (jobId: string, { signal }: Abortable = {}) =>
    line.ask<Job>(`/api/jobs/${piece(jobId)}`, { signal });
  return {
    get,
    async submit(jobType, params, { idempotencyKey, signal } = {}) {
      const headers = { "Idempotency-Key": idempotencyKey ?? randomKey() };
      const body = { job_type: jobType, params };
      const asked = { method: "POST", body, headers, signal } as const;
      const { id } = await insist(() => line.ask<SubmittedJob>("/api/jobs", asked), signal);
      return insist(() => get(id, { signal }), signal);
    },
    list: (status, { signal, ...query } = {}) =>
      line.ask("/api/jobs", { query: { status: status as JobStatus, ...query }, signal }),
    async cancel(jobId, { signal } = {}) {
      await line.ask(`/api/jobs/${piece(jobId)}/cancel`, { method: "POST", signal });
    },
    retry: (jobId, { signal } = {}) =>
      line.ask(`/api/jobs/${piece(jobId)}/retry`, { method: "POST", signal }),
    attempts: (jobId, { signal } = {}) =>
      line.ask(`/api/jobs/${piece(jobId)}/attempts`, { signal }),
    pollUntilDone: (jobId, onProgress, intervalMs = 2000, { signal } = {}) =>
      pollUntilDone(() => get(jobId, { signal }), onProgress, intervalMs, signal),
  };
}

/** Some tries, while it is only the line or the server's health that is in the way. */
async function insist<Told>(
  ask: () => Promise<Told>,
  signal: AbortSignal | undefined,
): Promise<Told> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.isTransient || tries === TRIES) throw error;
      const ms = backoff(tries, FIRST_WAIT_MS, MAX_WAIT_MS);
      await sleep(Math.max(ms, Math.min(MAX_WAIT_MS, (error.retryAfter ?? 0) * 1000)), signal);
    }
  }
}

/** `crypto.randomUUID` is only there for pages that came by https. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
