// Conversations: uploaded once as a dataset, or posted message by message.
import type { Abortable } from "./jobs.js";
import { type Transport, pathSegment } from "./transport.js";
import type {
  Dataset,
  DatasetThreads,
  DeletedDataset,
  ExportedTraces,
  PostedThread,
  PostedThreads,
  SourceRule,
  Traces,
} from "./types.js";
import { upload } from "./upload.js";

export type FileFormat = "csv" | "jsonl" | "json_document" | "xlsx" | "parquet";
export type DateOrder = "day-first" | "month-first";
export type Mask = "emails" | "phones" | "cards";

export interface UploadOptions extends Abortable {
  /** Default: the name of the file. */
  name?: string | undefined;
  /** Default: detected from the file. */
  format?: FileFormat | undefined;
  /** Header in the file, by expected column, where the guess is wrong. "": not in the file. */
  mapping?: { readonly [column: string]: string } | undefined;
  /** What 1/2/2025 means. Default: as the file decides. */
  dateOrder?: DateOrder | undefined;
  /** Personal data to replace before anything is stored. */
  mask?: readonly Mask[] | undefined;
  /** Names to replace, too. */
  maskNames?: readonly string[] | undefined;
  /** Called with the bytes sent and the size of the file. */
  onProgress?: ((sent: number, total: number) => void) | undefined;
}

export interface ListDatasets extends Abortable {
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface ListDatasetThreads extends Abortable {
  /** The last `position` of the previous page. */
  after?: number | undefined;
  limit?: number | undefined;
}

export interface DatasetsApi {
  /** The same file is the same dataset. Rejects with every bad row in `problems`. */
  upload(file: Blob, options?: UploadOptions): Promise<Dataset>;
  /** Newest first. */
  list(options?: ListDatasets): Promise<Dataset[]>;
  get(datasetId: string, options?: Abortable): Promise<Dataset>;
  threads(datasetId: string, options?: ListDatasetThreads): Promise<DatasetThreads>;
  remove(datasetId: string, options?: Abortable): Promise<DeletedDataset>;
}

export interface ThreadsApi {
  /** Store messages as they happen. Messages that were posted before change nothing. */
  post(threads: readonly PostedThread[], options?: Abortable): Promise<PostedThreads>;
  /** The same for spans of OpenTelemetry, as OTLP has them in JSON. */
  postSpans(traces: Traces, options?: Abortable): Promise<ExportedTraces>;
}

export interface SourcesApi {
  /** How far each source was read, and what came of it. */
  list(options?: Abortable): Promise<SourceRule[]>;
}

export function threads(transport: Transport): ThreadsApi {
  return {
    post: (posted, { signal } = {}) =>
      transport.request("/api/threads", { method: "POST", body: { threads: posted }, signal }),
    postSpans: (body, { signal } = {}) =>
      transport.request("/api/v1/traces", { method: "POST", body, signal }),
  };
}

export function sources(transport: Transport): SourcesApi {
  return { list: ({ signal } = {}) => transport.request("/api/sources", { signal }) };
}

export function datasets(transport: Transport): DatasetsApi {
  const path = (datasetId: string) => `/api/datasets/${pathSegment(datasetId)}`;
  return {
    upload(file, { name, format, mapping, dateOrder, mask, maskNames, onProgress, signal } = {}) {
      const fileName = (file as Partial<File>).name ?? name ?? "file";
      const fields: Record<string, string> = {};
      if (name !== undefined) fields["name"] = name;
      if (format !== undefined) fields["format"] = format;
      if (mapping !== undefined) fields["mapping"] = JSON.stringify(mapping);
      if (dateOrder !== undefined) fields["date_order"] = dateOrder;
      if (mask !== undefined) fields["mask"] = mask.join(",");
      if (maskNames !== undefined) fields["mask_names"] = maskNames.join("\n");
      return upload<Dataset>(transport, "/api/datasets", {
        file,
        fileName,
        fields,
        onProgress,
        signal,
      });
    },
    list: ({ signal, ...query } = {}) => transport.request("/api/datasets", { query, signal }),
    get: (datasetId, { signal } = {}) => transport.request(path(datasetId), { signal }),
    threads: (datasetId, { signal, ...query } = {}) =>
      transport.request(`${path(datasetId)}/threads`, { query, signal }),
    remove: (datasetId, { signal } = {}) =>
      transport.request(path(datasetId), { method: "DELETE", signal }),
  };
}
