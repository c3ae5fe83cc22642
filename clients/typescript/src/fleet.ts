// Queues, workers and the audit log.
import type { Abortable } from "./jobs.js";
import { type Transport, pathSegment } from "./transport.js";
import type { AuditEntry, PausedQueue, Queue, Worker } from "./types.js";

export interface QueuesApi {
  list(options?: Abortable): Promise<Queue[]>;
  /** Start none of its jobs until it is resumed. Running jobs continue. */
  pause(queue: string, options?: Abortable): Promise<PausedQueue>;
  resume(queue: string, options?: Abortable): Promise<PausedQueue>;
}

export interface WorkersApi {
  /** All workers, as each last reported. */
  list(options?: Abortable): Promise<Worker[]>;
}

export interface ListAudit extends Abortable {
  actor?: string;
  /** `queue.pause`, for example; `queue` for all that can be done to one. */
  action?: string;
  subject_kind?: string;
  subject_id?: string;
  /** The last `id` of the page before. */
  after?: number;
  limit?: number;
}

export interface AuditApi {
  /** Who changed what, newest first. */
  list(options?: ListAudit): Promise<AuditEntry[]>;
}

export function queues(transport: Transport): QueuesApi {
  const change = (queue: string, action: "pause" | "resume", { signal }: Abortable = {}) =>
    transport.request<PausedQueue>(`/api/queues/${pathSegment(queue)}/${action}`, {
      method: "POST",
      signal,
    });
  return {
    list: ({ signal } = {}) => transport.request("/api/queues", { signal }),
    pause: (queue, options) => change(queue, "pause", options),
    resume: (queue, options) => change(queue, "resume", options),
  };
}

export function workers(transport: Transport): WorkersApi {
  return {
    list: ({ signal } = {}) => transport.request("/api/workers", { signal }),
  };
}

export function audit(transport: Transport): AuditApi {
  return {
    list: ({ signal, ...query } = {}) => transport.request("/api/audit", { query, signal }),
  };
}
