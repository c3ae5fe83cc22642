// The client: every route of the API, and watches.
import { alerts, type AlertsApi } from "./alerts.js";
import { annotation, type AnnotationApi } from "./annotation.js";
import { apps, type AppsApi } from "./apps.js";
import {
  datasets,
  type DatasetsApi,
  sources,
  type SourcesApi,
  threads,
  type ThreadsApi,
} from "./datasets.js";
import { audit, type AuditApi, queues, type QueuesApi, workers, type WorkersApi } from "./fleet.js";
import type { WatchOptions } from "./subscription.js";
import { type Abortable, jobs, type JobsApi } from "./jobs.js";
import { type ClientOptions, pathSegment, Transport } from "./transport.js";
import { runs, type RunsApi } from "./runs.js";
import { session, type SessionApi } from "./session.js";
import { adversarial, type AdversarialApi } from "./adversarial.js";
import type {
  Evaluator,
  Job,
  JobEvent,
  Provider,
  SubmittedJob,
  Tried,
  TryEvaluators,
} from "./types.js";
import { type Watch, watch, watchAll, type WatchAllOptions } from "./watch.js";

/** The API of one server. */
export interface Client {
  jobs: JobsApi;
  runs: RunsApi;
  datasets: DatasetsApi;
  threads: ThreadsApi;
  sources: SourcesApi;
  apps: AppsApi;
  alerts: AlertsApi;
  annotation: AnnotationApi;
  queues: QueuesApi;
  workers: WorkersApi;
  audit: AuditApi;
  adversarial: AdversarialApi;
  session: SessionApi;
  /** The evaluators that are installed; with an app, all that a job of it can name. */
  evaluators(options?: { app_id?: string } & Abortable): Promise<Evaluator[]>;
  /** Try evaluators on up to ten conversations, in a job without a run. */
  tryEvaluators(
    params: Partial<TryEvaluators> & { dataset_id: string },
    options?: Abortable,
  ): Promise<SubmittedJob>;
  /** What such a job has found so far. */
  tried(jobId: string, options?: Abortable): Promise<Tried>;
  /** The LLM providers, and whether the server can use them. */
  providers(options?: Abortable): Promise<Provider[]>;
  /** Receive each change of a job, until it ends. */
  watch(jobId: string, onChange: (job: Job) => void, options?: WatchOptions): Watch<Job>;
  /** Receive each change of every job. After `onResync`, read again: changes may be missing. */
  watchAll(
    onChange: (job: JobEvent) => void,
    onResync: () => void,
    options?: WatchAllOptions,
  ): Watch<void>;
}

export function createClient(options: ClientOptions = {}): Client {
  const transport = new Transport(options);
  return {
    jobs: jobs(transport),
    runs: runs(transport),
    datasets: datasets(transport),
    threads: threads(transport),
    sources: sources(transport),
    apps: apps(transport),
    alerts: alerts(transport),
    annotation: annotation(transport),
    queues: queues(transport),
    workers: workers(transport),
    audit: audit(transport),
    adversarial: adversarial(transport),
    session: session(transport),
    evaluators: ({ signal, ...query } = {}) =>
      transport.request("/api/evaluators", { query, signal }),
    tryEvaluators: (body, { signal } = {}) =>
      transport.request("/api/evaluators/try", { method: "POST", body, signal }),
    tried: (jobId, { signal } = {}) =>
      transport.request(`/api/evaluators/tried/${pathSegment(jobId)}`, { signal }),
    providers: ({ signal } = {}) => transport.request("/api/providers", { signal }),
    watch: (jobId, onChange, watching) => watch(transport, jobId, onChange, watching),
    watchAll: (onChange, onResync, watching) => watchAll(transport, onChange, onResync, watching),
  };
}

/** The jobs of the server that this page comes from. */
export const jobsApi: JobsApi = /* @__PURE__ */ jobs(/* @__PURE__ */ new Transport());
