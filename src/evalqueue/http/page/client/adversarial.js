import { pathSegment } from "./transport.js";
export function adversarial(transport) {
    const path = (appId, caseId) => `/api/adversarial/cases/${pathSegment(appId)}/${pathSegment(caseId)}`;
    return {
        app: (appId, { signal } = {}) => transport.request(`/api/adversarial/apps/${pathSegment(appId)}`, {
            signal,
        }),
        cases: ({ signal, ...query } = {}) => transport.request("/api/adversarial/cases", { query, signal }),
        save: (appId, { signal, ...body }) => transport.request("/api/adversarial/cases", {
            method: "POST",
            body: { app_id: appId, ...body },
            signal,
        }),
        pin: (appId, caseId, { signal, ...query } = {}) => transport.request(`${path(appId, caseId)}/pin`, {
            method: "POST",
            query,
            signal,
        }),
        unpin: (appId, caseId, { signal, ...query } = {}) => transport.request(`${path(appId, caseId)}/unpin`, {
            method: "POST",
            query,
            signal,
        }),
        remove: (appId, caseId, { signal, ...query } = {}) => transport.request(path(appId, caseId), { method: "DELETE", query, signal }),
    };
}
