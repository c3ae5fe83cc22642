import { pathSegment } from "./transport.js";
export function apps(transport) {
    const path = (appId) => `/api/apps/${pathSegment(appId)}`;
    return {
        list: ({ signal } = {}) => transport.request("/api/apps", { signal }),
        get: (appId, { signal, ...query } = {}) => transport.request(path(appId), { query, signal }),
        add: ({ signal, ...body }) => transport.request("/api/apps", { method: "POST", body, signal }),
        remove: (appId, { signal, ...query } = {}) => transport.request(path(appId), { method: "DELETE", query, signal }),
        draft: (datasetId, { signal } = {}) => transport.request(datasetId ? `/api/datasets/${pathSegment(datasetId)}/app-draft` : "/api/app-draft", { signal }),
    };
}
