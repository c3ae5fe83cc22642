// The public names of the package.
export type { AlertsApi, ListAlerts } from "./alerts.js";
export type { Annotating, AnnotationApi, AnnotationLabel, Annotator } from "./annotation.js";
export type { AddApp, AppsApi, GetApp } from "./apps.js";
export { type Client, createClient, jobsApi } from "./client.js";
export type {
  DatasetsApi,
  DateOrder,
  FileFormat,
  ListDatasets,
  ListDatasetThreads,
  Mask,
  SourcesApi,
  ThreadsApi,
  UploadOptions,
} from "./datasets.js";
export { ApiError } from "./errors.js";
export type { AuditApi, ListAudit, QueuesApi, WorkersApi } from "./fleet.js";
export type { Timing, WatchOptions, WatchState } from "./subscription.js";
export {
  type Abortable,
  type JobsApi,
  type ListJobs,
  type SubmitOptions,
  randomKey,
} from "./jobs.js";
export type { ClientOptions } from "./transport.js";
export type { components, operations, paths } from "./openapi.js";
export type { ListLogs, ListRuns, Page, PreviewOptions, RunsApi } from "./runs.js";
export type { SessionApi } from "./session.js";
export type { ListCases, SaveCases, AdversarialApi } from "./adversarial.js";
export type * from "./types.js";
export type { Visible } from "./visibility.js";
export { isOver, type Watch, type WatchAllOptions } from "./watch.js";
