// The client: every route of the API, and watches.
import { alerts } from "./alerts.js";
import { annotation } from "./annotation.js";
import { apps } from "./apps.js";
import { datasets, sources, threads, } from "./datasets.js";
import { audit, queues, workers } from "./fleet.js";
import { jobs } from "./jobs.js";
import { pathSegment, Transport } from "./transport.js";
import { runs } from "./runs.js";
import { session } from "./session.js";
import { adversarial } from "./adversarial.js";
import { watch, watchAll } from "./watch.js";
export function createClient(options = {}) {
    const transport = new Transport(options);
    return {
        jobs: jobs(transport),
        runs: runs(transport),
        datasets: datasets(transport),
        threads: threads(transport),
        sources: sources(transport),
        apps: apps(transport),
        alerts: alerts(transport),
        annotation: annotation(transport),
        queues: queues(transport),
        workers: workers(transport),
        audit: audit(transport),
        adversarial: adversarial(transport),
        session: session(transport),
        evaluators: ({ signal, ...query } = {}) => transport.request("/api/evaluators", { query, signal }),
        tryEvaluators: (body, { signal } = {}) => transport.request("/api/evaluators/try", { method: "POST", body, signal }),
        tried: (jobId, { signal } = {}) => transport.request(`/api/evaluators/tried/${pathSegment(jobId)}`, { signal }),
        providers: ({ signal } = {}) => transport.request("/api/providers", { signal }),
        watch: (jobId, onChange, watching) => watch(transport, jobId, onChange, watching),
        watchAll: (onChange, onResync, watching) => watchAll(transport, onChange, onResync, watching),
    };
}
/** The jobs of the server that this page comes from. */
export const jobsApi = /* @__PURE__ */ jobs(/* @__PURE__ */ new Transport());
