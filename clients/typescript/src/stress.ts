// Who can be put to a bot: the difficult users of an app, and the cases that are worth keeping.
import type { Abortable } from "./jobs.js";
import { type Line, piece } from "./line.js";
import type { CaseInput, ForgottenCase, PinnedCase, SavedCase, StressProfile } from "./types.js";

export interface ListCases extends Abortable {
  app_id?: string | undefined;
  pinned?: boolean | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface SaveCases extends Abortable {
  cases?: CaseInput[] | undefined;
  /** A run, instead of `cases`; and which of its cases. */
  from_run?: string | undefined;
  case_ids?: string[] | undefined;
  /** Whether they are part of every later run of the app. */
  pinned?: boolean | undefined;
}

export interface StressApi {
  profile(appId: string, options?: Abortable): Promise<StressProfile>;
  cases(options?: ListCases): Promise<SavedCase[]>;
  save(appId: string, options: SaveCases): Promise<SavedCase[]>;
  pin(appId: string, caseId: string, options?: Abortable): Promise<PinnedCase>;
  unpin(appId: string, caseId: string, options?: Abortable): Promise<PinnedCase>;
  forget(appId: string, caseId: string, options?: Abortable): Promise<ForgottenCase>;
}

export function stress(line: Line): StressApi {
  const path = (appId: string, caseId: string) =>
    `/api/adversarial/cases/${piece(appId)}/${piece(caseId)}`;
  return {
    profile: (appId, { signal } = {}) =>
      line.ask(`/api/adversarial/profiles/${piece(appId)}`, { signal }),
    cases: ({ signal, ...query } = {}) => line.ask("/api/adversarial/cases", { query, signal }),
    save: (appId, { signal, ...given }) =>
      line.ask("/api/adversarial/cases", {
        method: "POST",
        body: { app_id: appId, ...given },
        signal,
      }),
    pin: (appId, caseId, { signal } = {}) =>
      line.ask(`${path(appId, caseId)}/pin`, { method: "POST", signal }),
    unpin: (appId, caseId, { signal } = {}) =>
      line.ask(`${path(appId, caseId)}/unpin`, { method: "POST", signal }),
    forget: (appId, caseId, { signal } = {}) =>
      line.ask(path(appId, caseId), { method: "DELETE", signal }),
  };
}
