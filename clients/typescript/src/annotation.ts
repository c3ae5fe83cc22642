// Annotation queues: conversations that people are asked to label.
import type { Abortable } from "./jobs.js";
import { pathSegment, type Transport } from "./transport.js";
import type * as types from "./types.js";

export interface Annotator extends Abortable {
  /** Default: the caller's name. */
  labelled_by?: string | undefined;
}

export interface Annotating extends Annotator {
  /** Whether to decide where others disagree. */
  adjudicates?: boolean | undefined;
}

export interface AnnotationLabel extends Annotating {
  value: string;
  note?: string | null | undefined;
}

export interface AnnotationApi {
  /** Ask people to label conversations of a run. */
  create(
    queue: Partial<types.CreateAnnotationQueue> & { run_id: string; evaluator: string },
    options?: Abortable,
  ): Promise<types.AnnotationQueue>;
  /** The annotation queues of a run. */
  list(runId: string, options?: Abortable): Promise<types.AnnotationQueues>;
  get(queueId: string, options?: Abortable): Promise<types.AnnotationQueue>;
  /** Lease an item for ten minutes; the one that the person has already is leased anew. */
  next(queueId: string, options?: Annotating): Promise<types.OfferedAnnotation>;
  /** Label an item, and see what the judge and others say. */
  label(
    queueId: string,
    position: number,
    label: AnnotationLabel,
  ): Promise<types.LabelledAnnotation>;
  /** Give an item back, also while the page is being closed. */
  release(
    queueId: string,
    item: { position: number; expires_at: string },
    options?: Annotator,
  ): Promise<types.ReleasedAnnotation>;
}

export function annotation(transport: Transport): AnnotationApi {
  const root = "/api/annotation-queues";
  return {
    create: (body, { signal } = {}) => transport.request(root, { method: "POST", body, signal }),
    list: (runId, { signal } = {}) =>
      transport.request(`/api/eval-runs/${pathSegment(runId)}/annotation-queues`, { signal }),
    get: (queueId, { signal } = {}) =>
      transport.request(`${root}/${pathSegment(queueId)}`, { signal }),
    next: (queueId, { signal, ...person } = {}) =>
      transport.request(`${root}/next`, {
        method: "POST",
        body: { queue_id: queueId, ...person },
        signal,
      }),
    label: (queueId, position, { signal, ...label }) =>
      transport.request(`${root}/label`, {
        method: "POST",
        body: { queue_id: queueId, position, ...label },
        signal,
      }),
    release: (queueId, { position, expires_at }, { signal, ...person } = {}) =>
      transport.request(`${root}/release`, {
        method: "POST",
        body: { queue_id: queueId, position, expires_at, ...person },
        keepalive: true,
        signal,
      }),
  };
}
