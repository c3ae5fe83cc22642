// Datasets: conversations that are uploaded once, and can be evaluated any number of times.
import type { Abortable } from "./jobs.js";
import { type Transport, pathSegment } from "./transport.js";
import type { Dataset, DatasetThreads, DeletedDataset } from "./types.js";
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
