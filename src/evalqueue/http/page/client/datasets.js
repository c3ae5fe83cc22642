import { piece } from "./line.js";
import { upload } from "./upload.js";
export function datasets(line) {
    const path = (datasetId) => `/api/datasets/${piece(datasetId)}`;
    return {
        upload(file, { name, format, mapping, onProgress, signal } = {}) {
            const fileName = file.name ?? name ?? "file";
            const fields = {};
            if (name !== undefined)
                fields["name"] = name;
            if (format !== undefined)
                fields["format"] = format;
            if (mapping !== undefined)
                fields["mapping"] = JSON.stringify(mapping);
            return upload(line, "/api/datasets", { file, fileName, fields, onProgress, signal });
        },
        list: ({ signal, ...query } = {}) => line.ask("/api/datasets", { query, signal }),
        get: (datasetId, { signal } = {}) => line.ask(path(datasetId), { signal }),
        threads: (datasetId, { signal, ...query } = {}) => line.ask(`${path(datasetId)}/threads`, { query, signal }),
        remove: (datasetId, { signal } = {}) => line.ask(path(datasetId), { method: "DELETE", signal }),
    };
}
