import { pathSegment } from "./transport.js";
export function alerts(transport) {
    const root = "/api/alerts";
    return {
        list: ({ signal, ...query } = {}) => transport.request(root, { query, signal }),
        add: (body, { signal } = {}) => transport.request(root, { method: "POST", body, signal }),
        remove: (alertId, { signal } = {}) => transport.request(`${root}/${pathSegment(alertId)}`, { method: "DELETE", signal }),
        test: (alertId, { signal } = {}) => transport.request(`${root}/${pathSegment(alertId)}/test`, { method: "POST", signal }),
    };
}
