import { datasets } from "./datasets.js";
import { queues, workers } from "./fleet.js";
import { jobs } from "./jobs.js";
import { Line } from "./line.js";
import { runs } from "./runs.js";
import { session } from "./session.js";
import { stress } from "./stress.js";
import { watch, watchAll } from "./watch.js";
export function createClient(options = {}) {
    const line = new Line(options);
    return {
        jobs: jobs(line),
        runs: runs(line),
        datasets: datasets(line),
        queues: queues(line),
        workers: workers(line),
        stress: stress(line),
        session: session(line),
        profiles: ({ signal } = {}) => line.ask("/api/profiles", { signal }),
        providers: ({ signal } = {}) => line.ask("/api/providers", { signal }),
        watch: (jobId, onChange, watching) => watch(line, jobId, onChange, watching),
        watchAll: (onChange, onResync, watching) => watchAll(line, onChange, onResync, watching),
    };
}
/** The jobs of the evalqueue that this page comes from. */
export const jobsApi = /* @__PURE__ */ jobs(/* @__PURE__ */ new Line());
