// Requests and responses: what is sent, the contents of errors, and retries.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { ApiError, createClient, jobsApi } from "../../src/evalqueue/http/page/client/index.js";
import { aJob, EventsServer, json } from "./lib/events-server.mjs";

const ID = "5b9b4f0e-5f7e-4c57-9d4f-0d8a51b7a0c1";

let server;
let client;

beforeEach(async () => {
  server = await new EventsServer().start();
  client = createClient({ baseUrl: `${server.url}/`, token: "abc" });
});

afterEach(() => server.stop());

/** Answer the next requests like this; returns the recorded requests. */
function answering(...answers) {
  const requests = [];
  server.instead = (request, response) => {
    const answer = answers[Math.min(requests.length, answers.length - 1)];
    const seen = { method: request.method, url: request.url, headers: request.headers, body: "" };
    requests.push(seen);
    request.setEncoding("utf8");
    request.on("data", (text) => (seen.body += text));
    request.on("end", () => answer(response));
    return true;
  };
  return requests;
}

const ok = (value) => (response) => json(response, 200, value);
const refused = (status, detail, headers) => (response) =>
  json(response, status, { detail }, headers);

async function errorOf(promise) {
  const error = await promise.then(
    () => assert.fail("it should have failed"),
    (reason) => reason,
  );
  assert.ok(error instanceof ApiError, String(error?.stack ?? error));
  return error;
}

const ROUTES = [
  [(api) => api.jobs.list("running", { limit: 5 }), "GET", "/api/jobs?status=running&limit=5"],
  [(api) => api.jobs.list(), "GET", "/api/jobs"],
  [(api) => api.jobs.get("a/b?c"), "GET", "/api/jobs/a%2Fb%3Fc"],
  [(api) => api.jobs.get(".."), "GET", "/api/jobs/%252E%252E"],
  [(api) => api.jobs.cancel("x"), "POST", "/api/jobs/x/cancel"],
  [(api) => api.jobs.retry("x"), "POST", "/api/jobs/x/retry"],
  [(api) => api.jobs.attempts("x"), "GET", "/api/jobs/x/attempts"],
  [
    (api) => api.runs.list({ command: "a b", limit: undefined }),
    "GET",
    "/api/eval-runs?command=a+b",
  ],
  [(api) => api.runs.get("x"), "GET", "/api/eval-runs/x"],
  [(api) => api.runs.summary(), "GET", "/api/eval-runs/stats/summary"],
  [(api) => api.runs.statistics("x"), "GET", "/api/eval-runs/x/statistics"],
  [(api) => api.runs.comparison("x", "y"), "GET", "/api/eval-runs/x/comparison/y"],
  [(api) => api.runs.outcomes("x", { after: 7 }), "GET", "/api/eval-runs/x/outcomes?after=7"],
  [(api) => api.runs.trials("x", { limit: 9 }), "GET", "/api/eval-runs/x/trials?limit=9"],
  [(api) => api.runs.threads("x"), "GET", "/api/eval-runs/x/threads"],
  [(api) => api.runs.thread("x", 3), "GET", "/api/eval-runs/x/threads/3"],
  [(api) => api.runs.logs("x", { thread_id: "t 1" }), "GET", "/api/eval-runs/x/logs?thread_id=t+1"],
  [(api) => api.runs.log("x", 4), "GET", "/api/eval-runs/x/logs/4"],
  [(api) => api.runs.adversarial("x"), "GET", "/api/eval-runs/x/adversarial"],
  [(api) => api.runs.case("x", "c#1"), "GET", "/api/eval-runs/x/adversarial/c%231"],
  [(api) => api.runs.dialogues("x"), "GET", "/api/eval-runs/x/dialogues"],
  [(api) => api.runs.preview({ total_items: 3 }), "POST", "/api/eval-runs/preview"],
  [(api) => api.datasets.list({ offset: 3 }), "GET", "/api/datasets?offset=3"],
  [(api) => api.datasets.get("sha256:ab"), "GET", "/api/datasets/sha256%3Aab"],
  [(api) => api.datasets.threads("x", { after: 1 }), "GET", "/api/datasets/x/threads?after=1"],
  [(api) => api.datasets.remove("x"), "DELETE", "/api/datasets/x"],
  [(api) => api.threads.post([]), "POST", "/api/threads"],
  [(api) => api.threads.postSpans({ resourceSpans: [] }), "POST", "/api/v1/traces"],
  [(api) => api.sources.list(), "GET", "/api/sources"],
  [(api) => api.queues.list(), "GET", "/api/queues"],
  [(api) => api.queues.pause("a/b"), "POST", "/api/queues/a%2Fb/pause"],
  [(api) => api.queues.resume("q"), "POST", "/api/queues/q/resume"],
  [(api) => api.workers.list(), "GET", "/api/workers"],
  [(api) => api.audit.list({ actor: "a b" }), "GET", "/api/audit?actor=a+b"],
  [(api) => api.adversarial.app("k"), "GET", "/api/adversarial/apps/k"],
  [(api) => api.adversarial.cases({ pinned: true }), "GET", "/api/adversarial/cases?pinned=true"],
  [(api) => api.adversarial.save("k", { from_run: "r" }), "POST", "/api/adversarial/cases"],
  [(api) => api.adversarial.pin("k", "c"), "POST", "/api/adversarial/cases/k/c/pin"],
  [(api) => api.adversarial.unpin("k", "c"), "POST", "/api/adversarial/cases/k/c/unpin"],
  [
    (api) => api.adversarial.unpin("k", "c", { owner: "o" }),
    "POST",
    "/api/adversarial/cases/k/c/unpin?owner=o",
  ],
  [(api) => api.adversarial.remove("k", "c"), "DELETE", "/api/adversarial/cases/k/c"],
  [(api) => api.session.get(), "GET", "/api/session"],
  [(api) => api.session.signIn("t"), "POST", "/api/session"],
  [(api) => api.session.signOut(), "DELETE", "/api/session"],
  [
    (api) => api.runs.calibration("x", { half: "test" }),
    "GET",
    "/api/eval-runs/x/calibration?half=test",
  ],
  [(api) => api.runs.share("x", { days: 3 }), "POST", "/api/eval-runs/x/share"],
  [(api) => api.runs.shares("x"), "GET", "/api/eval-runs/x/share"],
  [(api) => api.runs.revokeShare("x", "y"), "DELETE", "/api/eval-runs/x/share/y"],
  [(api) => api.runs.labels("x"), "GET", "/api/eval-runs/x/labels"],
  [(api) => api.runs.addLabels("x", []), "POST", "/api/labels"],
  [(api) => api.runs.notes("x", { thread_id: "t" }), "GET", "/api/eval-runs/x/notes?thread_id=t"],
  [(api) => api.runs.addNote("x", { thread_id: "t", note: "n" }), "POST", "/api/notes"],
  [(api) => api.alerts.list({ firing: true }), "GET", "/api/alerts?firing=true"],
  [(api) => api.alerts.add({ name: "a", watches: "drift" }), "POST", "/api/alerts"],
  [(api) => api.alerts.remove("a"), "DELETE", "/api/alerts/a"],
  [(api) => api.alerts.test("a"), "POST", "/api/alerts/a/test"],
  [(api) => api.annotation.create({ run_id: "x" }), "POST", "/api/annotation-queues"],
  [(api) => api.annotation.list("x"), "GET", "/api/eval-runs/x/annotation-queues"],
  [(api) => api.annotation.get("q"), "GET", "/api/annotation-queues/q"],
  [(api) => api.annotation.next("q"), "POST", "/api/annotation-queues/next"],
  [
    (api) => api.annotation.label("q", 3, { value: "PASS" }),
    "POST",
    "/api/annotation-queues/label",
  ],
  [
    (api) => api.annotation.release("q", { position: 3, expires_at: "" }),
    "POST",
    "/api/annotation-queues/release",
  ],
  [(api) => api.apps.list(), "GET", "/api/apps"],
  [(api) => api.apps.get("a", { since: 1 }), "GET", "/api/apps/a?since=1"],
  [(api) => api.apps.add({ text: "" }), "POST", "/api/apps"],
  [(api) => api.apps.remove("a"), "DELETE", "/api/apps/a"],
  [(api) => api.apps.draft(), "GET", "/api/app-draft"],
  [(api) => api.apps.draft("d"), "GET", "/api/datasets/d/app-draft"],
  [(api) => api.providers(), "GET", "/api/providers"],
];

test("every call is one request", async () => {
  for (const [call, method, url] of ROUTES) {
    const asked = answering(ok({}));
    await call(client);
    assert.deepEqual(
      asked.map((each) => [each.method, each.url]),
      [[method, url]],
    );
    assert.equal(asked[0].headers.authorization, "Bearer abc");
    assert.equal(asked[0].headers["content-type"], asked[0].body ? "application/json" : undefined);
  }
});

test("every call can be given up", async () => {
  const controller = new AbortController();
  controller.abort(new Error("enough"));
  await assert.rejects(client.jobs.get(ID, { signal: controller.signal }), { message: "enough" });
  const late = new AbortController();
  server.instead = () => {
    setTimeout(() => late.abort(new Error("too slow")), 20);
    return true;
  };
  await assert.rejects(client.runs.list({ signal: late.signal }), { message: "too slow" });
});

test("an error has the message of the server", async () => {
  answering(refused(409, "It contradicts itself"));
  const error = await errorOf(client.jobs.retry(ID));
  assert.equal(error.status, 409);
  assert.equal(error.detail, "It contradicts itself");
  assert.equal(error.message, error.detail);
  assert.deepEqual([error.problems, error.retryAfter, error.isTransient], [[], null, false]);
});

test("an error names every problem", async () => {
  const problems = [
    {
      loc: ["body", "file"],
      msg: "No date",
      type: "bad_row",
      ctx: { row: 3, column: "timestamp" },
    },
    { loc: ["body", "params", 0], msg: "Too many", type: "value_error" },
  ];
  answering(refused(422, problems));
  const error = await errorOf(client.runs.preview({}));
  assert.deepEqual(error.problems, problems);
  assert.equal(error.detail, "body.file: No date\nbody.params.0: Too many");
});

test("an error knows when to ask again", async () => {
  for (const [header, wanted] of [
    ["7", 7],
    ["0.5", 0.5],
    ["-3", 0],
    ["soon", null],
    ["", null],
  ]) {
    answering(refused(429, "Slowly", { "Retry-After": header }));
    assert.equal((await errorOf(client.workers.list())).retryAfter, wanted);
  }
  const moment = new Date(Date.now() + 600_000).toUTCString();
  answering(refused(503, "Later", { "Retry-After": moment }));
  const { retryAfter, isTransient } = await errorOf(client.workers.list());
  assert.ok(retryAfter > 500 && retryAfter <= 600 && isTransient);
});

test("an answer that makes no sense is an error, not a value", async () => {
  const page = (status, text) => (response) => {
    response.writeHead(status, { "Content-Type": "text/html" });
    response.end(text);
  };
  for (const text of ["", "<h1>Bad Gateway</h1>", "{", "nonsense", "\u0000"]) {
    answering(page(502, text));
    const error = await errorOf(client.workers.list());
    assert.equal(error.detail, "502 Bad Gateway");
    answering(page(200, text));
    assert.match((await errorOf(client.workers.list())).detail, /not JSON/);
  }
  for (const detail of [null, 7, {}, [], [null, 1, { loc: 1 }, { msg: "x" }], ""]) {
    answering(refused(400, detail));
    const { status, problems, message } = await errorOf(client.workers.list());
    assert.deepEqual([status, problems], [400, []]);
    assert.ok(message);
  }
});

test("what can't be reached is an error without a status", async () => {
  const { url } = server;
  await server.stop();
  const error = await errorOf(createClient({ baseUrl: url }).jobs.list());
  assert.deepEqual([error.status, error.isTransient], [0, true]);
  assert.ok(error.cause);
  await server.start();
});

for (const baseUrl of ["", "127.0.0.1:8721", "localhost", "ftp://x", "http://", "http://x?y=1"]) {
  test(`an address that is none is refused at once: ${JSON.stringify(baseUrl)}`, () => {
    assert.throws(() => createClient({ baseUrl }), { name: "TypeError", message: /^baseUrl: / });
  });
}

test("an empty id is refused at once, as the request would be for something else", () => {
  const asked = answering(ok([]));
  for (const call of [
    () => client.jobs.get(""),
    () => client.watch("", () => {}),
    () => client.runs.get(undefined),
    () => client.datasets.get(null),
  ]) {
    assert.throws(call, { name: "TypeError", message: "The id is empty" });
  }
  assert.deepEqual(asked, []);
});

test("a file that can't be read is told from a server that can't be reached", async () => {
  const file = new Blob(["a,b"]);
  file.slice = () => ({
    arrayBuffer: () => Promise.reject(new DOMException("", "NotReadableError")),
  });
  const refusing = createClient({
    baseUrl: server.url,
    fetch: () => Promise.reject(new TypeError("Failed to fetch")),
  });
  for (const call of [
    () => refusing.datasets.upload(file),
    () => refusing.runs.preview({}, { file }),
  ]) {
    await assert.rejects(call, { name: "TypeError", message: /^The file can't be read/ });
  }
  const error = await errorOf(refusing.datasets.upload(new Blob(["a,b"])));
  assert.equal(error.status, 0);
});

test("a job that is submitted is seen whole", async () => {
  const asked = answering(ok({ id: ID, job_type: "x", status: "queued" }), ok(aJob(ID)));
  assert.deepEqual(await client.jobs.submit("evaluate-batch", { total_items: 3 }), aJob(ID));
  assert.deepEqual(JSON.parse(asked[0].body), {
    job_type: "evaluate-batch",
    params: { total_items: 3 },
  });
  assert.match(asked[0].headers["idempotency-key"], /^[0-9a-f]{32}$/);
  assert.equal(asked[1].url, `/api/jobs/${ID}`);
});

test("a lost request is sent again, with the same key", async () => {
  const lost = (response) => response.destroy();
  const asked = answering(lost, refused(503, "Later"), ok({ id: ID }), lost, ok(aJob(ID)));
  await client.jobs.submit("evaluate-batch", {}, { idempotencyKey: "mine" });
  assert.deepEqual(
    asked.map(({ method }) => method),
    ["POST", "POST", "POST", "GET", "GET"],
  );
  assert.deepEqual(
    asked.slice(0, 3).map(({ headers }) => headers["idempotency-key"]),
    Array(3).fill("mine"),
  );
});

test("a refused job is not submitted again", async () => {
  const asked = answering(refused(422, [{ loc: ["body"], msg: "No", type: "x" }]));
  await errorOf(client.jobs.submit("evaluate-batch", {}));
  assert.equal(asked.length, 1);
});

test("polling passes on each answer, and waits out temporary errors", async () => {
  const asked = answering(
    ok(aJob(ID, { status: "queued" })),
    refused(503, "Later"),
    (response) => response.destroy(),
    ok(aJob(ID)),
    ok(aJob(ID)),
    ok(aJob(ID, { status: "failed" })),
  );
  const seen = [];
  const job = await client.jobs.pollUntilDone(ID, ({ status }) => seen.push(status), 10);
  assert.equal(job.status, "failed");
  assert.deepEqual(seen, ["queued", "running", "running", "failed"]);
  assert.equal(asked.length, 6);
});

test("polling ends with a permanent error, and when it is stopped", async () => {
  answering(ok(aJob(ID)), refused(404, "Job not found"));
  assert.equal((await errorOf(client.jobs.pollUntilDone(ID, undefined, 5))).status, 404);
  answering(ok(aJob(ID)));
  const stopping = AbortSignal.timeout(50);
  await assert.rejects(client.jobs.pollUntilDone(ID, undefined, 60_000, { signal: stopping }), {
    name: "TimeoutError",
  });
});

test("a callback's error is polling's error", async () => {
  answering(ok(aJob(ID)));
  const fails = () => {
    throw new Error("a bug of mine");
  };
  await assert.rejects(client.jobs.pollUntilDone(ID, fails, 5), { message: "a bug of mine" });
});

test("a file is sent as a form, and its progress is reported", async () => {
  const asked = answering(ok({ id: "sha256:x" }));
  const received = [];
  const file = new File(["a,b\n1,ä\n"], 'day\'s "file".csv');
  const dataset = await client.datasets.upload(file, {
    mapping: { thread_id: "a" },
    onProgress: (...each) => received.push(each),
  });
  assert.deepEqual(dataset, { id: "sha256:x" });
  assert.match(asked[0].headers["content-type"], /^multipart\/form-data; boundary=/);
  assert.match(asked[0].body, /name="mapping"\r\n\r\n\{"thread_id":"a"\}/);
  assert.match(asked[0].body, /filename="day's %22file%22.csv"/);
  assert.deepEqual(received, [
    [0, file.size],
    [file.size, file.size],
  ]);
});

test("an upload can be given up", async () => {
  const controller = new AbortController();
  server.instead = () => {
    controller.abort();
    return true;
  };
  const file = new Blob(["x".repeat(5_000_000)]);
  await assert.rejects(client.datasets.upload(file, { signal: controller.signal }), {
    name: "AbortError",
  });
});

test("a preview of a file is a form, one of params is JSON", async () => {
  const asked = answering(ok({}));
  await client.runs.preview(
    { app_id: "k" },
    { file: new Blob(["x"]), fileName: "a.csv", head: true },
  );
  for (const part of [
    /filename="a.csv"/,
    /name="params"\r\n\r\n\{"app_id":"k"\}/,
    /name="head"\r\n\r\ntrue/,
  ]) {
    assert.match(asked[0].body, part);
  }
  await client.runs.preview({ app_id: "k" });
  assert.deepEqual(JSON.parse(asked[1].body), { app_id: "k" });
});

test("an own fetch is used", async () => {
  const seen = [];
  const own = async (url, init) => {
    seen.push([url, init.method]);
    return new Response("[]", { status: 200 });
  };
  assert.deepEqual(await createClient({ baseUrl: "http://x/y", fetch: own }).jobs.list(), []);
  assert.deepEqual(seen, [["http://x/y/api/jobs", "GET"]]);
});

test("the ready jobs API asks where the page comes from", async () => {
  const asked = answering(ok([]));
  globalThis.location = { origin: server.url };
  try {
    assert.deepEqual(await jobsApi.list("queued"), []);
  } finally {
    delete globalThis.location;
  }
  assert.equal(asked[0].url, "/api/jobs?status=queued");
});
