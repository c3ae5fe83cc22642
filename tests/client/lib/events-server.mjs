// A small server with the job routes and event streams of the API, and with failures on demand.
import { once } from "node:events";
import { createServer } from "node:http";

const ONE = /^\/api\/jobs\/([^/]+)(\/events)?$/;

export function aJob(id, given = {}) {
  return {
    id,
    job_type: "evaluate-batch",
    status: "running",
    params: {},
    result: null,
    progress: { current: 0, total: 5, message: "" },
    error_message: null,
    created_at: "2026-11-22T09:00:00+00:00",
    started_at: null,
    completed_at: null,
    owner: "default",
    attempt: 1,
    max_attempts: 3,
    failed_attempts: 0,
    queue: "evalqueue",
    priority: 0,
    scheduled_at: null,
    worker: null,
    retry_of: null,
    after: null,
    revision: 1,
    ahead: null,
    name: null,
    run_id: null,
    continued_by: null,
    ...given,
  };
}

export class EventsServer {
  jobs = new Map();
  /** The requests: path, Last-Event-ID, Authorization. */
  requests = [];
  /** A function (request, response) → true if it has sent the response itself. */
  instead = null;
  heartbeatMs = 50;
  #log = []; // of events of all jobs
  #streams = new Set();
  #http = null;
  port = 0;

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    this.#http = createServer((request, response) => this.#answer(request, response));
    this.#http.listen(this.port, "127.0.0.1");
    await once(this.#http, "listening");
    this.port = this.#http.address().port;
    return this;
  }

  /** Close the port and all connections, as if the process was killed. */
  async stop() {
    const closed = once(this.#http, "close");
    this.#http.close();
    this.#http.closeAllConnections();
    await closed;
  }

  get streams() {
    return this.#streams.size;
  }

  /** Cut every stream off. */
  cut() {
    for (const { response } of this.#streams) response.destroy();
  }

  change(id, given) {
    const before = this.jobs.get(id);
    const job = aJob(id, { ...before, revision: (before?.revision ?? 0) + 1, ...given });
    this.jobs.set(id, job);
    this.#log.push(job);
    for (const stream of this.#streams) stream.send(job, this.#log.length);
    return job;
  }

  /** Send any text on every stream: an older state, for example, or invalid data. */
  sendRaw(text) {
    for (const { response } of this.#streams) response.write(text);
  }

  #answer(request, response) {
    const { pathname } = new URL(request.url, this.url);
    const lastEventId = request.headers["last-event-id"];
    this.requests.push({
      path: pathname,
      lastEventId,
      authorization: request.headers.authorization,
    });
    if (this.instead?.(request, response)) return;
    const [, id, isStream] = ONE.exec(pathname) ?? [];
    if (pathname === "/api/events") return this.#all(response, lastEventId);
    if (pathname === "/api/jobs") return json(response, 200, [...this.jobs.values()].reverse());
    if (!id || !this.jobs.has(id)) return json(response, 404, { detail: "Job not found" });
    if (!isStream) return json(response, 200, this.jobs.get(id));
    this.#one(response, id);
  }

  #one(response, id) {
    const stream = this.#open(response, (job) => {
      if (job.id !== id) return;
      response.write(`id: ${job.revision}\nevent: job\ndata: ${JSON.stringify(job)}\n\n`);
      if (["completed", "failed", "cancelled"].includes(job.status)) response.end();
    });
    stream.send(this.jobs.get(id));
  }

  #all(response, lastEventId) {
    const stream = this.#open(response, ({ params, result, ...job }, number) => {
      response.write(`id: ${number}\nevent: job\ndata: ${JSON.stringify(job)}\n\n`);
    });
    if (lastEventId === undefined) return;
    if (Number(lastEventId) > this.#log.length) response.write("event: resync\ndata: {}\n\n");
    this.#log.forEach((job, index) => {
      if (index >= Number(lastEventId)) stream.send(job, index + 1);
    });
  }

  #open(response, send) {
    response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
    response.write("retry: 20\n\n");
    const beating = setInterval(() => response.write(": still here\n\n"), this.heartbeatMs);
    const stream = { response, send };
    this.#streams.add(stream);
    response.on("close", () => {
      clearInterval(beating);
      this.#streams.delete(stream);
    });
    return stream;
  }
}

export function json(response, status, value, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(JSON.stringify(value));
}
