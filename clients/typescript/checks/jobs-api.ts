// The jobs API that front-ends were promised: ours is assignable to it.
import { type Job as OurJob, jobsApi } from "../src/index.js";

interface Job {
  id: string;
  job_type: string;
  status: "queued" | "running" | "completed" | "failed" | "cancelled";
  params: Record<string, unknown>;
  result: Record<string, unknown> | null;
  progress: { current: number; total: number; message: string };
  error_message: string | null;
  created_at: string;
  started_at: string | null;
  completed_at: string | null;
}

interface Promised {
  submit(jobType: string, params: Record<string, unknown>): Promise<Job>;
  list(status?: string): Promise<Job[]>;
  get(jobId: string): Promise<Job>;
  cancel(jobId: string): Promise<void>;
  pollUntilDone(jobId: string, onProgress?: (job: Job) => void, intervalMs?: number): Promise<Job>;
}

export const promised: Promised = jobsApi;

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;

/** The parameters and the results, both ways. */
export const same: [
  Same<Parameters<typeof jobsApi.cancel>[0], string>,
  Same<Awaited<ReturnType<typeof jobsApi.cancel>>, void>,
  Same<Awaited<ReturnType<typeof jobsApi.submit>>, OurJob>,
  Same<OurJob["status"], Job["status"]>,
] = [true, true, true, true];
