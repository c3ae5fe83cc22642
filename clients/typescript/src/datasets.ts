// Conversations that are uploaded once and evaluated as often as one likes.
import type { Abortable } from "./jobs.js";
import { type Line, piece } from "./line.js";
import type { Dataset, DatasetThreads, DeletedDataset } from "./types.js";
import { upload } from "./upload.js";

export interface UploadOptions extends Abortable {
  /** Default: the file's. */
  name?: string | undefined;
  /** Default: what the file looks like. */
  format?: "csv" | "jsonl" | undefined;
  /** Our column: their header. */
  mapping?: { readonly [column: string]: string } | undefined;
  /** Told of bytes sent, and of how many there are. */
  onProgress?: ((sent: number, total: number) => void) | undefined;
}

export interface ListDatasets extends Abortable {
  limit?: number | undefined;
  offset?: number | undefined;
}

export interface ListDatasetThreads extends Abortable {
  /** The last `position` of the page before. */
  after?: number | undefined;
  limit?: number | undefined;
}

export interface DatasetsApi {
  /** The same file is the same dataset. Rejects with all that is wrong with its rows, as `problems`. */
  upload(file: Blob, options?: UploadOptions): Promise<Dataset>;
  /** Newest first. */
  list(options?: ListDatasets): Promise<Dataset[]>;
  get(datasetId: string, options?: Abortable): Promise<Dataset>;
  threads(datasetId: string, options?: ListDatasetThreads): Promise<DatasetThreads>;
  remove(datasetId: string, options?: Abortable): Promise<DeletedDataset>;
}

export function datasets(line: Line): DatasetsApi {
  const path = (datasetId: string) => `/api/datasets/${piece(datasetId)}`;
  return {
    upload(file, { name, format, mapping, onProgress, signal } = {}) {
      const fileName = (file as Partial<File>).name ?? name ?? "file";
      const fields: Record<string, string> = {};
      if (name !== undefined) fields["name"] = name;
      if (format !== undefined) fields["format"] = format;
      if (mapping !== undefined) fields["mapping"] = JSON.stringify(mapping);
      return upload<Dataset>(line, "/api/datasets", { file, fileName, fields, onProgress, signal });
    },
    list: ({ signal, ...query } = {}) => line.ask("/api/datasets", { query, signal }),
    get: (datasetId, { signal } = {}) => line.ask(path(datasetId), { signal }),
    threads: (datasetId, { signal, ...query } = {}) =>
      line.ask(`${path(datasetId)}/threads`, { query, signal }),
    remove: (datasetId, { signal } = {}) => line.ask(path(datasetId), { method: "DELETE", signal }),
  };
}
