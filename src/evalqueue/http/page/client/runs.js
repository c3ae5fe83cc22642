import { piece } from "./line.js";
export function runs(line) {
    const get = (path, { signal, ...query } = {}) => line.ask(`/api/eval-runs${path}`, { query, signal });
    const of = (runId) => `/${piece(runId)}`;
    return {
        list: (options) => get("", options),
        get: (runId, options) => get(of(runId), options),
        summary: (options) => get("/stats/summary", options),
        preview: (params, options = {}) => line.ask("/api/eval-runs/preview", {
            method: "POST",
            body: previewed(params, options),
            signal: options.signal,
        }),
        statistics: (runId, options) => get(`${of(runId)}/statistics`, options),
        outcomes: (runId, options) => get(`${of(runId)}/outcomes`, options),
        trials: (runId, options) => get(`${of(runId)}/trials`, options),
        threads: (runId, options) => get(`${of(runId)}/threads`, options),
        thread: (runId, evaluationId, options) => get(`${of(runId)}/threads/${piece(evaluationId)}`, options),
        logs: (runId, options) => get(`${of(runId)}/logs`, options),
        log: (runId, logId, options) => get(`${of(runId)}/logs/${piece(logId)}`, options),
        adversarial: (runId, options) => get(`${of(runId)}/adversarial`, options),
        case: (runId, caseId, options) => get(`${of(runId)}/adversarial/${piece(caseId)}`, options),
        dialogues: (runId, options) => get(`${of(runId)}/dialogues`, options),
    };
}
function previewed(params, { file, fileName, mapping, format, head }) {
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
    if (head)
        form.set("head", "true");
    return form;
}
