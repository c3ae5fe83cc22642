import { pathSegment } from "./transport.js";
import { upload } from "./upload.js";
export function threads(transport) {
    return {
        post: (posted, { signal } = {}) => transport.request("/api/threads", { method: "POST", body: { threads: posted }, signal }),
        postSpans: (body, { signal } = {}) => transport.request("/api/v1/traces", { method: "POST", body, signal }),
    };
}
export function sources(transport) {
    return { list: ({ signal } = {}) => transport.request("/api/sources", { signal }) };
}
export function datasets(transport) {
    const path = (datasetId) => `/api/datasets/${pathSegment(datasetId)}`;
    return {
        upload(file, { name, format, mapping, dateOrder, mask, maskNames, onProgress, signal } = {}) {
            const fileName = file.name ?? name ?? "file";
            const fields = {};
            if (name !== undefined)
                fields["name"] = name;
            if (format !== undefined)
                fields["format"] = format;
            if (mapping !== undefined)
                fields["mapping"] = JSON.stringify(mapping);
            if (dateOrder !== undefined)
                fields["date_order"] = dateOrder;
            if (mask !== undefined)
                fields["mask"] = mask.join(",");
            if (maskNames !== undefined)
                fields["mask_names"] = maskNames.join("\n");
            return upload(transport, "/api/datasets", {
                file,
                fileName,
                fields,
                onProgress,
                signal,
            });
        },
        list: ({ signal, ...query } = {}) => transport.request("/api/datasets", { query, signal }),
        get: (datasetId, { signal } = {}) => transport.request(path(datasetId), { signal }),
        threads: (datasetId, { signal, ...query } = {}) => transport.request(`${path(datasetId)}/threads`, { query, signal }),
        remove: (datasetId, { signal } = {}) => transport.request(path(datasetId), { method: "DELETE", signal }),
    };
}
