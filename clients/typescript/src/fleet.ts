// Queues and workers.
import type { Abortable } from "./jobs.js";
import { type Transport, pathSegment } from "./transport.js";
import type { PausedQueue, Queue, Worker } from "./types.js";

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
