// The client and the real thing: `evalqueue serve`, Postgres, a worker, a simulated judge.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ApiError, createClient, isOver } from "../../src/http/page/client/index.js";
import { Proxy, until } from "./lib/parts.mjs";
import { RealServer } from "./lib/real-server.mjs";

const QUICK = { retryMs: 50, maxRetryMs: 300, pollMs: 100, restreamMs: 1_000 };
const NOBODY = "00000000-0000-0000-0000-000000000000";

let server;
let client;

before(async () => {
  server = await new RealServer().start();
  client = createClient({ baseUrl: server.url });
});

after(() => server.stop());

function rising(jobs) {
  const revisions = jobs.map(({ revision }) => revision ?? 0);
  return revisions.every((each, index) => index === 0 || each >= revisions[index - 1]);
}

test("a job, from its submission to what it found", async () => {
  const job = await client.jobs.submit("evaluate-batch", { total_items: 3, name: "From Node" });
  assert.equal(job.status === "queued" || job.status === "running", true);
  assert.equal(job.params.total_items, 3);

  const seen = [];
  const done = await client.jobs.pollUntilDone(job.id, (each) => seen.push(each), 50);
  assert.equal(done.status, "completed");
  assert.equal(done.progress.current, 3);
  assert.deepEqual(seen.at(-1), done);

  const run = await client.runs.get(done.result.run_id);
  assert.equal(run.status, "completed");
  assert.equal(run.job_id, job.id);
  assert.ok((await client.runs.list()).some(({ id }) => id === run.id));
  assert.equal((await client.runs.threads(run.id)).total, 3);
  assert.ok((await client.runs.logs(run.id, { limit: 5 })).logs.length > 0);
  assert.ok((await client.runs.summary()).total_runs >= 1);
  assert.deepEqual((await client.jobs.attempts(job.id)).map(({ outcome }) => outcome), ["completed"]);
  assert.ok((await client.jobs.list("completed", { limit: 1 })).length === 1);
});

test("the same key is the same job, and another request with it is refused", async () => {
  const submit = (count) =>
    client.jobs.submit("evaluate-batch", { total_items: count }, { idempotencyKey: "from-node" });
  const [one, two] = await Promise.all([submit(1), submit(1)]);
  assert.equal(one.id, two.id);
  await assert.rejects(submit(2), (error) => error instanceof ApiError && error.status === 409);
  await client.watch(one.id, () => {}, { timing: QUICK }).done;
});

test("what is wrong is named, with its place", async () => {
  await assert.rejects(client.jobs.submit("evaluate-batch", { total_items: -1, colour: "red" }), (error) => {
    assert.equal(error.status, 422);
    const places = error.problems.map(({ loc }) => loc.join("."));
    assert.ok(places.includes("body.params.total_items"), String(places));
    return true;
  });
  await assert.rejects(client.jobs.get(NOBODY), { status: 404, detail: "Job not found" });
  await assert.rejects(client.watch(NOBODY, () => {}).done, { status: 404 });
  await assert.rejects(client.jobs.get("../workers"), { name: "ApiError" });
});

test("a cancelled job is cancelled for whoever watches", async () => {
  const job = await client.jobs.submit("evaluate-batch", { total_items: 40 });
  const watch = client.watch(job.id, () => {}, { timing: QUICK });
  assert.equal(await client.jobs.cancel(job.id), undefined);
  assert.equal((await watch.done).status, "cancelled");
  await assert.rejects(client.jobs.cancel(job.id), { status: 400 });
  const next = await client.jobs.retry(job.id);
  assert.equal(next.retry_of, job.id);
  await client.jobs.cancel(next.id);
});

test("a server that is killed and started again in the middle of a job", async () => {
  const job = await client.jobs.submit("evaluate-batch", { total_items: 12 });
  const seen = [];
  const states = [];
  const watch = client.watch(job.id, (each) => seen.push(each), {
    timing: QUICK, onState: (state) => states.push(state),
  });
  await until(() => seen.length > 0);
  await server.stop("SIGKILL");
  await server.start();
  const done = await watch.done;
  assert.equal(done.status, "completed");
  assert.equal(done.progress.current, 12);
  assert.ok(rising(seen));
  assert.equal(seen.filter(isOver).length, 1);
});

test("a job that ends while the line is down", async () => {
  const proxy = await new Proxy().start(Number(new URL(server.url).port));
  const job = await client.jobs.submit("evaluate-batch", { total_items: 2 });
  const watch = createClient({ baseUrl: proxy.url }).watch(job.id, () => {}, { timing: QUICK });
  const cutting = setInterval(() => proxy.cut(), 20);
  await client.jobs.pollUntilDone(job.id, undefined, 50);
  clearInterval(cutting);
  assert.equal((await watch.done).status, "completed");
  await proxy.stop();
});

test("all jobs are watched", async () => {
  const seen = new Map();
  const watch = client.watchAll((job) => seen.set(job.id, job), () => {}, { timing: QUICK });
  const job = await client.jobs.submit("evaluate-batch", { total_items: 1 });
  await until(() => seen.get(job.id)?.status === "completed", 20_000);
  assert.ok(!("params" in seen.get(job.id)));
  watch.stop();
  await assert.rejects(watch.done, { name: "AbortError" });
});

test("queues are paused and resumed, workers are seen", async () => {
  const [queue] = await client.queues.list();
  assert.deepEqual(await client.queues.pause(queue.name), { name: queue.name, paused: true });
  assert.deepEqual(await client.queues.resume(queue.name), { name: queue.name, paused: false });
  await until(async () => (await client.workers.list()).length === 1);
});

test("difficult users are known, and cases are kept", async () => {
  const profile = await client.stress.profile("kaira-bot");
  assert.ok(profile.goals.length > 0);
  assert.deepEqual(await client.stress.cases(), []);
});
