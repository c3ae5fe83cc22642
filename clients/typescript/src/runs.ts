// Runs: the results of evaluation jobs.
import type { DateOrder, FileFormat } from "./datasets.js";
import type { Abortable } from "./jobs.js";
import { type Transport, pathSegment } from "./transport.js";
import type * as types from "./types.js";
import { sending } from "./upload.js";

export interface Page extends Abortable {
  /** The last `id` of the previous page. */
  after?: number | undefined;
  limit?: number | undefined;
}

/** Only conversations with such a score, in any turn, and with such a text. */
export interface ScoredPage extends Page {
  evaluator?: string | undefined;
  name?: string | undefined;
  /** A label, a number, "true" or "false". */
  value?: string | undefined;
  /** The label on record, of the same score. */
  expected?: string | undefined;
  /** A part of a message, in any case. */
  text?: string | undefined;
}

export interface ListRuns extends Abortable {
  /** Only runs of this job type. */
  command?: string | undefined;
  /** Only runs of this app. */
  app_id?: string | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface ListLogs extends Abortable {
  thread_id?: string | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface PreviewOptions extends Abortable {
  /** A file that is not uploaded, or its beginning. */
  file?: Blob | undefined;
  fileName?: string | undefined;
  /** Header in the file, by expected column. */
  mapping?: { readonly [column: string]: string } | undefined;
  /** Default: detected from the file. */
  format?: FileFormat | undefined;
  /** What 1/2/2025 means. Default: as the file decides. */
  dateOrder?: DateOrder | undefined;
  /** Whether this is only the beginning of the file: then there are no statistics. */
  head?: boolean | undefined;
}

export interface CalibrationOptions extends Abortable {
  /** Only the labels of one half of the conversations. Default: all. */
  half?: "development" | "test" | undefined;
}

export interface ListNotes extends Page {
  /** Only of this conversation. */
  thread_id?: string | undefined;
}

export interface ShareOptions extends Abortable {
  /** How long the link is good: 1 to 90. Default: 7. */
  days?: number | undefined;
}

export interface RunsApi {
  list(options?: ListRuns): Promise<types.EvalRun[]>;
  get(runId: string, options?: Abortable): Promise<types.EvalRun>;
  /** Totals over all runs. */
  summary(options?: Abortable): Promise<types.SummaryStats>;
  /** What a job with these params would evaluate. Nothing is stored. */
  preview(params: Record<string, unknown>, options?: PreviewOptions): Promise<types.Preview>;
  statistics(runId: string, options?: Abortable): Promise<types.RunStatistics>;
  /** A run compared with a baseline, by the conversations that both have. */
  comparison(runId: string, baselineId: string, options?: Abortable): Promise<types.RunComparison>;
  /** How often the judge is wrong by people's labels, and the rates corrected by them. */
  calibration(runId: string, options?: CalibrationOptions): Promise<types.RunCalibration>;
  /** What people say about the run's conversations. */
  labels(runId: string, options?: Abortable): Promise<types.RunLabels>;
  addLabels(
    runId: string,
    labels: readonly types.NewLabel[],
    options?: Abortable,
  ): Promise<types.AddedLabels>;
  /** What people wrote about the run's conversations. */
  notes(runId: string, options?: ListNotes): Promise<types.RunNotes>;
  addNote(
    runId: string,
    note: Pick<types.AddNote, "thread_id" | "note"> & Partial<Pick<types.AddNote, "written_by">>,
    options?: Abortable,
  ): Promise<types.ThreadNote>;
  /** Make a link that shows the run's report without a token. Its `url` is known only now. */
  share(runId: string, options?: ShareOptions): Promise<types.SharedRun>;
  /** The links to the run's report that are good. */
  shares(runId: string, options?: Abortable): Promise<types.RunShares>;
  /** Revoke a link to the run's report. */
  revokeShare(runId: string, shareId: string, options?: Abortable): Promise<types.RunShare>;
  /** A run's conversations, without their results. */
  outcomes(runId: string, options?: ScoredPage): Promise<types.Outcomes>;
  /** An adversarial test's trials, without their transcripts. */
  trials(runId: string, options?: Page): Promise<types.Trials>;
  /** A run's conversations with their results. */
  threads(runId: string, options?: ScoredPage): Promise<types.ThreadEvaluations>;
  /** One conversation, with its messages and its results. */
  thread(runId: string, evaluationId: number, options?: Abortable): Promise<types.ThreadDetail>;
  /** LLM calls, newest first, without their texts. */
  logs(runId: string, options?: ListLogs): Promise<types.ApiLogs>;
  /** One LLM call with its texts. */
  log(runId: string, logId: number, options?: Abortable): Promise<types.ApiLogTexts>;
  /** An adversarial test's trials with their transcripts. */
  adversarial(runId: string, options?: Page): Promise<types.AdversarialEvaluations>;
  /** A case of an adversarial test, with each of its trials. */
  case(runId: string, caseId: string, options?: Abortable): Promise<types.CaseTrials>;
  /** Conversations that have no verdict yet. */
  dialogues(runId: string, options?: Abortable): Promise<types.Dialogues>;
}

export function runs(transport: Transport): RunsApi {
  const get = <Result>(path: string, { signal, ...query }: Abortable = {}) =>
    transport.request<Result>(`/api/eval-runs${path}`, { query, signal });
  const runPath = (runId: string) => `/${pathSegment(runId)}`;
  return {
    list: (options) => get("", options),
    get: (runId, options) => get(runPath(runId), options),
    summary: (options) => get("/stats/summary", options),
    preview: (params, options = {}) =>
      sending(options.file, () =>
        transport.request("/api/eval-runs/preview", {
          method: "POST",
          body: previewBody(params, options),
          signal: options.signal,
        }),
      ),
    statistics: (runId, options) => get(`${runPath(runId)}/statistics`, options),
    comparison: (runId, baselineId, options) =>
      get(`${runPath(runId)}/comparison/${pathSegment(baselineId)}`, options),
    calibration: (runId, options) => get(`${runPath(runId)}/calibration`, options),
    labels: (runId, options) => get(`${runPath(runId)}/labels`, options),
    addLabels: (runId, labels, { signal } = {}) =>
      transport.request("/api/labels", {
        method: "POST",
        body: { run_id: runId, labels },
        signal,
      }),
    notes: (runId, options) => get(`${runPath(runId)}/notes`, options),
    addNote: (runId, note, { signal } = {}) =>
      transport.request("/api/notes", { method: "POST", body: { run_id: runId, ...note }, signal }),
    share: (runId, { days, signal } = {}) =>
      transport.request(`/api/eval-runs${runPath(runId)}/share`, {
        method: "POST",
        body: { days },
        signal,
      }),
    shares: (runId, options) => get(`${runPath(runId)}/share`, options),
    revokeShare: (runId, shareId, { signal } = {}) =>
      transport.request(`/api/eval-runs${runPath(runId)}/share/${pathSegment(shareId)}`, {
        method: "DELETE",
        signal,
      }),
    outcomes: (runId, options) => get(`${runPath(runId)}/outcomes`, options),
    trials: (runId, options) => get(`${runPath(runId)}/trials`, options),
    threads: (runId, options) => get(`${runPath(runId)}/threads`, options),
    thread: (runId, evaluationId, options) =>
      get(`${runPath(runId)}/threads/${pathSegment(evaluationId)}`, options),
    logs: (runId, options) => get(`${runPath(runId)}/logs`, options),
    log: (runId, logId, options) => get(`${runPath(runId)}/logs/${pathSegment(logId)}`, options),
    adversarial: (runId, options) => get(`${runPath(runId)}/adversarial`, options),
    case: (runId, caseId, options) =>
      get(`${runPath(runId)}/adversarial/${pathSegment(caseId)}`, options),
    dialogues: (runId, options) => get(`${runPath(runId)}/dialogues`, options),
  };
}

function previewBody(
  params: Record<string, unknown>,
  { file, fileName, mapping, format, dateOrder, head }: PreviewOptions,
): Record<string, unknown> | FormData {
  if (!file) return params;
  const form = new FormData();
  form.set("file", file, fileName ?? (file as Partial<File>).name ?? "file");
  if (mapping) form.set("mapping", JSON.stringify(mapping));
  if (Object.keys(params).length > 0) form.set("params", JSON.stringify(params));
  if (format) form.set("format", format);
  if (dateOrder) form.set("date_order", dateOrder);
  if (head) form.set("head", "true");
  return form;
}
