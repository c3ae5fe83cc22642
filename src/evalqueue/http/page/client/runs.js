import { pathSegment } from "./transport.js";
import { sending } from "./upload.js";
export function runs(transport) {
    const get = (path, { signal, ...query } = {}) => transport.request(`/api/eval-runs${path}`, { query, signal });
    const runPath = (runId) => `/${pathSegment(runId)}`;
    return {
        list: (options) => get("", options),
        get: (runId, options) => get(runPath(runId), options),
        summary: (options) => get("/stats/summary", options),
        preview: (params, options = {}) => sending(options.file, () => transport.request("/api/eval-runs/preview", {
            method: "POST",
            body: previewBody(params, options),
            signal: options.signal,
        })),
        statistics: (runId, options) => get(`${runPath(runId)}/statistics`, options),
        comparison: (runId, baselineId, options) => get(`${runPath(runId)}/comparison/${pathSegment(baselineId)}`, options),
        calibration: (runId, options) => get(`${runPath(runId)}/calibration`, options),
        labels: (runId, options) => get(`${runPath(runId)}/labels`, options),
        addLabels: (runId, labels, { signal } = {}) => transport.request("/api/labels", {
            method: "POST",
            body: { run_id: runId, labels },
            signal,
        }),
        notes: (runId, options) => get(`${runPath(runId)}/notes`, options),
        addNote: (runId, note, { signal } = {}) => transport.request("/api/notes", { method: "POST", body: { run_id: runId, ...note }, signal }),
        share: (runId, { days, signal } = {}) => transport.request(`/api/eval-runs${runPath(runId)}/share`, {
            method: "POST",
            body: { days },
            signal,
        }),
        shares: (runId, options) => get(`${runPath(runId)}/share`, options),
        revokeShare: (runId, shareId, { signal } = {}) => transport.request(`/api/eval-runs${runPath(runId)}/share/${pathSegment(shareId)}`, {
            method: "DELETE",
            signal,
        }),
        outcomes: (runId, options) => get(`${runPath(runId)}/outcomes`, options),
        trials: (runId, options) => get(`${runPath(runId)}/trials`, options),
        threads: (runId, options) => get(`${runPath(runId)}/threads`, options),
        thread: (runId, evaluationId, options) => get(`${runPath(runId)}/threads/${pathSegment(evaluationId)}`, options),
        logs: (runId, options) => get(`${runPath(runId)}/logs`, options),
        log: (runId, logId, options) => get(`${runPath(runId)}/logs/${pathSegment(logId)}`, options),
        adversarial: (runId, options) => get(`${runPath(runId)}/adversarial`, options),
        case: (runId, caseId, options) => get(`${runPath(runId)}/adversarial/${pathSegment(caseId)}`, options),
        dialogues: (runId, options) => get(`${runPath(runId)}/dialogues`, options),
    };
}
function previewBody(params, { file, fileName, mapping, format, dateOrder, head }) {
    if (!file)
        return params;
    const form = new FormData();
    form.set("file", file, fileName ?? file.name ?? "file");
    if (mapping)
        form.set("mapping", JSON.stringify(mapping));
    if (Object.keys(params).length > 0)
        form.set("params", JSON.stringify(params));
    if (format)
        form.set("format", format);
    if (dateOrder)
        form.set("date_order", dateOrder);
    if (head)
        form.set("head", "true");
    return form;
}
