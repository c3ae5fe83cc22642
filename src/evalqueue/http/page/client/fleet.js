import { pathSegment } from "./transport.js";
export function queues(transport) {
    const change = (queue, action, { signal } = {}) => transport.request(`/api/queues/${pathSegment(queue)}/${action}`, {
        method: "POST",
        signal,
    });
    return {
        list: ({ signal } = {}) => transport.request("/api/queues", { signal }),
        pause: (queue, options) => change(queue, "pause", options),
        resume: (queue, options) => change(queue, "resume", options),
    };
}
export function workers(transport) {
    return {
        list: ({ signal } = {}) => transport.request("/api/workers", { signal }),
    };
}
export function audit(transport) {
    return {
        list: ({ signal, ...query } = {}) => transport.request("/api/audit", { query, signal }),
    };
}
