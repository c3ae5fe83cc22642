import { pathSegment } from "./transport.js";
export function annotation(transport) {
    const root = "/api/annotation-queues";
    return {
        create: (body, { signal } = {}) => transport.request(root, { method: "POST", body, signal }),
        list: (runId, { signal } = {}) => transport.request(`/api/eval-runs/${pathSegment(runId)}/annotation-queues`, { signal }),
        get: (queueId, { signal } = {}) => transport.request(`${root}/${pathSegment(queueId)}`, { signal }),
        next: (queueId, { signal, ...person } = {}) => transport.request(`${root}/next`, {
            method: "POST",
            body: { queue_id: queueId, ...person },
            signal,
        }),
        label: (queueId, position, { signal, ...label }) => transport.request(`${root}/label`, {
            method: "POST",
            body: { queue_id: queueId, position, ...label },
            signal,
        }),
        release: (queueId, { position, expires_at }, { signal, ...person } = {}) => transport.request(`${root}/release`, {
            method: "POST",
            body: { queue_id: queueId, position, expires_at, ...person },
            keepalive: true,
            signal,
        }),
    };
}
