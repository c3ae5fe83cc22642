// Who works, and what waits.
import type { Abortable } from "./jobs.js";
import { type Line, piece } from "./line.js";
import type { PausedQueue, Queue, Worker } from "./types.js";

export interface QueuesApi {
  list(options?: Abortable): Promise<Queue[]>;
  /** Start nothing of it until it is resumed; what runs goes on. */
  pause(queue: string, options?: Abortable): Promise<PausedQueue>;
  resume(queue: string, options?: Abortable): Promise<PausedQueue>;
}

export interface WorkersApi {
  /** Every worker, as it last said. */
  list(options?: Abortable): Promise<Worker[]>;
}

export function queues(line: Line): QueuesApi {
  const change = (queue: string, how: "pause" | "resume", { signal }: Abortable = {}) =>
    line.ask<PausedQueue>(`/api/queues/${piece(queue)}/${how}`, { method: "POST", signal });
  return {
    list: ({ signal } = {}) => line.ask("/api/queues", { signal }),
    pause: (queue, options) => change(queue, "pause", options),
    resume: (queue, options) => change(queue, "resume", options),
  };
}

export function workers(line: Line): WorkersApi {
  return { list: ({ signal } = {}) => line.ask("/api/workers", { signal }) };
}
