// What jobs found.
import type { Abortable } from "./jobs.js";
import { type Line, piece } from "./line.js";
import type * as told from "./types.js";

export interface Page extends Abortable {
  /** The last `id` of the page before. */
  after?: number | undefined;
  limit?: number | undefined;
}

export interface ListRuns extends Abortable {
  /** Only runs of this job type. */
  command?: string | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface ListLogs extends Abortable {
  thread_id?: string | undefined;
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface PreviewOptions extends Abortable {
  /** A file that was not uploaded, or the beginning of one. */
  file?: Blob | undefined;
  fileName?: string | undefined;
  /** Our column: their header. */
  mapping?: { readonly [column: string]: string } | undefined;
  /** Default: what the file looks like. */
  format?: "csv" | "jsonl" | undefined;
  /** Whether the file is cut off: no statistics are meant. */
  head?: boolean | undefined;
}

export interface RunsApi {
  list(options?: ListRuns): Promise<told.EvalRun[]>;
  get(runId: string, options?: Abortable): Promise<told.EvalRun>;
  /** Totals over all runs. */
  summary(options?: Abortable): Promise<told.SummaryStats>;
  /** What a job with these params would evaluate. Nothing is stored. */
  preview(params: Record<string, unknown>, options?: PreviewOptions): Promise<told.Preview>;
  statistics(runId: string, options?: Abortable): Promise<told.RunStatistics>;
  /** A run's conversations, without their results. */
  outcomes(runId: string, options?: Page): Promise<told.Outcomes>;
  /** A stress test's trials, without their transcripts. */
  trials(runId: string, options?: Page): Promise<told.Trials>;
  /** A run's conversations with their results. */
  threads(runId: string, options?: Page): Promise<told.ThreadEvaluations>;
  /** One conversation, what was said and what was found in it. */
  thread(runId: string, evaluationId: number, options?: Abortable): Promise<told.ThreadDetail>;
  /** LLM calls, newest first, without their texts. */
  logs(runId: string, options?: ListLogs): Promise<told.ApiLogs>;
  /** One LLM call with its texts. */
  log(runId: string, logId: number, options?: Abortable): Promise<told.ApiLogTexts>;
  /** A stress test's trials with their transcripts. */
  adversarial(runId: string, options?: Page): Promise<told.AdversarialEvaluations>;
  /** A case of a stress test, and what became of each of its trials. */
  case(runId: string, caseId: string, options?: Abortable): Promise<told.CaseTrials>;
  /** Conversations that have no verdict yet. */
  dialogues(runId: string, options?: Abortable): Promise<told.Dialogues>;
}

export function runs(line: Line): RunsApi {
  const get = <Told>(path: string, { signal, ...query }: Abortable = {}) =>
    line.ask<Told>(`/api/eval-runs${path}`, { query, signal });
  const of = (runId: string) => `/${piece(runId)}`;
  return {
    list: (options) => get("", options),
    get: (runId, options) => get(of(runId), options),
    summary: (options) => get("/stats/summary", options),
    preview: (params, options = {}) =>
      line.ask("/api/eval-runs/preview", {
        method: "POST",
        body: previewed(params, options),
        signal: options.signal,
      }),
    statistics: (runId, options) => get(`${of(runId)}/statistics`, options),
    outcomes: (runId, options) => get(`${of(runId)}/outcomes`, options),
    trials: (runId, options) => get(`${of(runId)}/trials`, options),
    threads: (runId, options) => get(`${of(runId)}/threads`, options),
    thread: (runId, evaluationId, options) =>
      get(`${of(runId)}/threads/${piece(evaluationId)}`, options),
    logs: (runId, options) => get(`${of(runId)}/logs`, options),
    log: (runId, logId, options) => get(`${of(runId)}/logs/${piece(logId)}`, options),
    adversarial: (runId, options) => get(`${of(runId)}/adversarial`, options),
    case: (runId, caseId, options) => get(`${of(runId)}/adversarial/${piece(caseId)}`, options),
    dialogues: (runId, options) => get(`${of(runId)}/dialogues`, options),
  };
}

function previewed(
  params: Record<string, unknown>,
  { file, fileName, mapping, format, head }: PreviewOptions,
): Record<string, unknown> | FormData {
  if (!file) return params;
  const form = new FormData();
  form.set("file", file, fileName ?? (file as Partial<File>).name ?? "file");
  if (mapping) form.set("mapping", JSON.stringify(mapping));
  if (Object.keys(params).length > 0) form.set("params", JSON.stringify(params));
  if (format) form.set("format", format);
  if (head) form.set("head", "true");
  return form;
}
