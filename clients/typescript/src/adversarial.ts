// Adversarial tests: what an app can be tested with, and saved cases.
import type { Abortable } from "./jobs.js";
import { type Transport, pathSegment } from "./transport.js";
import type { CaseInput, DeletedCase, PinnedCase, SavedCase, AdversarialApp } from "./types.js";

export interface ListCases extends Abortable {
  app_id?: string | undefined;
  pinned?: boolean | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface SaveCases extends Abortable {
  cases?: CaseInput[] | undefined;
  /** A run, instead of `cases`: all its cases, or those in `case_ids`. */
  from_run?: string | undefined;
  case_ids?: string[] | undefined;
  /** Whether the cases are part of every later run of the app. */
  pinned?: boolean | undefined;
}

export interface ChangeCase extends Abortable {
  /** Whose case, for administrators. Default: the caller's, else that of the only owner. */
  owner?: string | undefined;
}

export interface AdversarialApi {
  /** The goals, traits, personas and tactics of an app's simulated users. */
  app(appId: string, options?: Abortable): Promise<AdversarialApp>;
  cases(options?: ListCases): Promise<SavedCase[]>;
  save(appId: string, options: SaveCases): Promise<SavedCase[]>;
  pin(appId: string, caseId: string, options?: ChangeCase): Promise<PinnedCase>;
  unpin(appId: string, caseId: string, options?: ChangeCase): Promise<PinnedCase>;
  remove(appId: string, caseId: string, options?: ChangeCase): Promise<DeletedCase>;
}

export function adversarial(transport: Transport): AdversarialApi {
  const path = (appId: string, caseId: string) =>
    `/api/adversarial/cases/${pathSegment(appId)}/${pathSegment(caseId)}`;
  return {
    app: (appId, { signal } = {}) =>
      transport.request(`/api/adversarial/apps/${pathSegment(appId)}`, {
        signal,
      }),
    cases: ({ signal, ...query } = {}) =>
      transport.request("/api/adversarial/cases", { query, signal }),
    save: (appId, { signal, ...body }) =>
      transport.request("/api/adversarial/cases", {
        method: "POST",
        body: { app_id: appId, ...body },
        signal,
      }),
    pin: (appId, caseId, { signal, ...query } = {}) =>
      transport.request(`${path(appId, caseId)}/pin`, {
        method: "POST",
        query,
        signal,
      }),
    unpin: (appId, caseId, { signal, ...query } = {}) =>
      transport.request(`${path(appId, caseId)}/unpin`, {
        method: "POST",
        query,
        signal,
      }),
    remove: (appId, caseId, { signal, ...query } = {}) =>
      transport.request(path(appId, caseId), { method: "DELETE", query, signal }),
  };
}
