import { datasets, type DatasetsApi } from "./datasets.js";
import { queues, type QueuesApi, workers, type WorkersApi } from "./fleet.js";
import type { WatchOptions } from "./follow.js";
import { type Abortable, jobs, type JobsApi } from "./jobs.js";
import { type ClientOptions, Line } from "./line.js";
import { runs, type RunsApi } from "./runs.js";
import { session, type SessionApi } from "./session.js";
import { stress, type StressApi } from "./stress.js";
import type { Job, JobEvent, Profile, Provider } from "./types.js";
import { type Watch, watch, watchAll, type WatchAllOptions } from "./watch.js";

/** The API of one evalqueue. */
export interface Client {
  jobs: JobsApi;
  runs: RunsApi;
  datasets: DatasetsApi;
  queues: QueuesApi;
  workers: WorkersApi;
  stress: StressApi;
  session: SessionApi;
  /** The apps that can be evaluated. */
  profiles(options?: Abortable): Promise<Profile[]>;
  /** The LLM providers, and whether the server can use them. */
  providers(options?: Abortable): Promise<Provider[]>;
  /** Be told of each change of a job, until it is over. */
  watch(jobId: string, onChange: (job: Job) => void, options?: WatchOptions): Watch<Job>;
  /** Be told of each change of every job; and that some may have been missed: read again. */
  watchAll(
    onChange: (job: JobEvent) => void,
    onResync: () => void,
    options?: WatchAllOptions,
  ): Watch<void>;
}

export function createClient(options: ClientOptions = {}): Client {
  const line = new Line(options);
  return {
    jobs: jobs(line),
    runs: runs(line),
    datasets: datasets(line),
    queues: queues(line),
    workers: workers(line),
    stress: stress(line),
    session: session(line),
    profiles: ({ signal } = {}) => line.ask("/api/profiles", { signal }),
    providers: ({ signal } = {}) => line.ask("/api/providers", { signal }),
    watch: (jobId, onChange, watching) => watch(line, jobId, onChange, watching),
    watchAll: (onChange, onResync, watching) => watchAll(line, onChange, onResync, watching),
  };
}

/** The jobs of the evalqueue that this page comes from. */
export const jobsApi: JobsApi = /* @__PURE__ */ jobs(/* @__PURE__ */ new Line());
