// Apps: chatbots described as data.
import type { Abortable } from "./jobs.js";
import { pathSegment, type Transport } from "./transport.js";
import type { App, AppDetails, AppDraft, DeletedApp, Notation } from "./types.js";

export interface GetApp extends Abortable {
  /** Default: the newest. */
  version?: number | undefined;
  /** Another version, for `changes`. */
  since?: number | undefined;
  /** Whose app, for administrators. */
  owner?: string | undefined;
}

export interface AddApp extends Abortable {
  document?: Record<string, unknown> | undefined;
  text?: string | undefined;
  notation?: Notation | undefined;
  /** A dataset that uses the app from now on. */
  dataset_id?: string | undefined;
  /** Whether nothing is to be stored. */
  only_check?: boolean | undefined;
}

export interface AppsApi {
  /** The apps that can be evaluated. */
  list(options?: Abortable): Promise<App[]>;
  get(appId: string, options?: GetApp): Promise<AppDetails>;
  /** Store an app, or a new version of it. */
  add(options: AddApp): Promise<AppDetails>;
  remove(appId: string, options?: { owner?: string | undefined } & Abortable): Promise<DeletedApp>;
  /** A document to start from; of a dataset, with the labels that it records. */
  draft(datasetId?: string | null, options?: Abortable): Promise<AppDraft>;
}

export function apps(transport: Transport): AppsApi {
  const path = (appId: string) => `/api/apps/${pathSegment(appId)}`;
  return {
    list: ({ signal } = {}) => transport.request("/api/apps", { signal }),
    get: (appId, { signal, ...query } = {}) => transport.request(path(appId), { query, signal }),
    add: ({ signal, ...body }) => transport.request("/api/apps", { method: "POST", body, signal }),
    remove: (appId, { signal, ...query } = {}) =>
      transport.request(path(appId), { method: "DELETE", query, signal }),
    draft: (datasetId, { signal } = {}) =>
      transport.request(
        datasetId ? `/api/datasets/${pathSegment(datasetId)}/app-draft` : "/api/app-draft",
        { signal },
      ),
  };
}
