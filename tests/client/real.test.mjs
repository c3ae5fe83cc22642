// The client with real processes: `evalqueue serve`, Postgres, a worker, a simulated vendor.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ApiError, createClient, isOver } from "../../src/evalqueue/http/page/client/index.js";
import { CuttableProxy, until } from "./lib/parts.mjs";
import { RealServer } from "./lib/real-server.mjs";

const QUICK = { retryMs: 50, maxRetryMs: 300, pollMs: 100, restreamMs: 1_000, openingMs: 60_000 };
const QUEUE = "evalqueue";
const CSV = `conversation,user_id,session_id,query_text,final_response_message,intent_detected,timestamp,has_image
t1,u1,s1,I had two rotis,Logged two rotis: 240 kcal.,FoodLogging,2026-11-01T09:00:00Z,0
t1,u1,s1,And a glass of milk,Logged a glass of milk: 150 kcal.,FoodLogging,2026-11-01T09:01:00Z,0
t2,u2,s2,What did I eat today?,You had two rotis.,Question,2026-11-01T10:00:00Z,0
`;
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
  assert.deepEqual(
    (await client.jobs.attempts(job.id)).map(({ outcome }) => outcome),
    ["completed"],
  );
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

test("errors name the problem and its place", async () => {
  await assert.rejects(
    client.jobs.submit("evaluate-batch", { total_items: -1, colour: "red" }),
    (error) => {
      assert.equal(error.status, 422);
      const places = error.problems.map(({ loc }) => loc.join("."));
      assert.ok(places.includes("body.params.total_items"), String(places));
      return true;
    },
  );
  await assert.rejects(client.jobs.get(NOBODY), { status: 404, detail: "Job not found" });
  await assert.rejects(client.watch(NOBODY, () => {}).done, { status: 404 });
  await assert.rejects(client.jobs.get("../workers"), { name: "ApiError" });
});

test("a cancelled job is cancelled for every watcher", async () => {
  const job = await client.jobs.submit("evaluate-batch", { total_items: 40, concurrency: 1 });
  const watch = client.watch(job.id, () => {}, { timing: QUICK });
  assert.equal(await client.jobs.cancel(job.id), undefined);
  assert.equal((await watch.done).status, "cancelled");
  await assert.rejects(client.jobs.cancel(job.id), { status: 400 });
  const next = await client.jobs.retry(job.id);
  assert.equal(next.retry_of, job.id);
  await client.jobs.cancel(next.id);
});

test("a server that is killed and started again in the middle of a job", async () => {
  const job = await client.jobs.submit("evaluate-batch", { total_items: 24, concurrency: 1 });
  const seen = [];
  const states = [];
  const watch = client.watch(job.id, (each) => seen.push(each), {
    timing: QUICK,
    onState: (state) => states.push(state),
  });
  await until(() => seen.length > 0);
  await server.stop("SIGKILL");
  await server.start();
  const done = await watch.done;
  assert.equal(done.status, "completed");
  assert.equal(done.progress.current, 24);
  assert.ok(rising(seen));
  assert.equal(seen.filter(isOver).length, 1);
  assert.deepEqual(states, ["live", "reconnecting", "live"]);
});

test("a job that ends while the connection is down", async () => {
  const proxy = await new CuttableProxy().start(Number(new URL(server.url).port));
  const job = await client.jobs.submit("evaluate-batch", { total_items: 2 });
  const watch = createClient({ baseUrl: proxy.url }).watch(job.id, () => {}, { timing: QUICK });
  const cutting = setInterval(() => proxy.cut(), 20);
  await client.jobs.pollUntilDone(job.id, undefined, 50);
  clearInterval(cutting);
  assert.equal((await watch.done).status, "completed");
  await proxy.stop();
});

test("all jobs are watched, and the queue moves on before those that wait", async () => {
  const seen = new Map();
  const queues = [];
  const states = [];
  const watch = client.watchAll(
    (job) => seen.set(job.id, job),
    () => {},
    {
      timing: QUICK,
      onQueue: (queue) => queues.push(queue),
      onState: (state) => states.push(state),
    },
  );
  await until(() => states.at(-1) === "live");
  await client.queues.pause(QUEUE);
  const [first, second] = [await submitted(), await submitted()];
  const aheadOf = ({ id }) => queues.findLast(({ ahead }) => id in ahead)?.ahead[id];
  await until(() => aheadOf(first) === 0 && aheadOf(second) === 1);
  assert.ok(queues.every(({ queue }) => queue === QUEUE));
  await client.jobs.cancel(first.id); // the row of the second job does not change
  await until(() => aheadOf(second) === 0);
  assert.equal(seen.get(second.id).status, "queued");
  await client.queues.resume(QUEUE);
  await until(() => seen.get(second.id).status === "completed", 40_000);
  assert.equal(seen.get(first.id).status, "cancelled");
  assert.ok(!("params" in seen.get(second.id)));
  watch.stop();
  await assert.rejects(watch.done, { name: "AbortError" });
  assert.deepEqual(states, ["live"]);
});

function submitted() {
  return client.jobs.submit("evaluate-batch", { total_items: 1 });
}

test("all jobs are watched across a server that is killed, and missed events are reported", async () => {
  const seen = new Map();
  const states = [];
  let resyncs = 0;
  const watch = client.watchAll(
    (job) => seen.set(job.id, job),
    () => (resyncs += 1),
    {
      timing: QUICK,
      onState: (state) => states.push(state),
    },
  );
  await until(() => states.at(-1) === "live");
  const received = await submitted();
  await until(() => seen.has(received.id));
  await server.stop("SIGKILL");
  await until(() => states.at(-1) === "reconnecting");
  await server.start();
  await until(() => resyncs > 0 && states.at(-1) === "live");
  const next = await submitted();
  await until(() => seen.get(next.id)?.status === "completed", 40_000);
  watch.stop();
  assert.deepEqual(states, ["live", "reconnecting", "live"]);
});

test("a file is looked at, uploaded, evaluated and removed; its run has figures", async () => {
  const file = new Blob([CSV]);
  const look = await client.runs.preview(
    {},
    { file: file.slice(0, 300), fileName: "mine.csv", head: true },
  );
  assert.equal(look.mapping.thread_id, "conversation");
  assert.deepEqual([look.missing_columns, look.llm_calls], [[], null]);
  const options = { fileName: "mine.csv", mapping: look.mapping };
  const preview = await client.runs.preview({ evaluate_intent: false }, { file, ...options });
  assert.equal(preview.chosen.threads, 2);
  assert.deepEqual(Object.keys(preview.llm_calls.evaluators), ["correctness", "efficiency"]);

  const sent = [];
  const upload = {
    name: "mine.csv",
    mapping: look.mapping,
    onProgress: (bytes) => sent.push(bytes),
  };
  const dataset = await client.datasets.upload(file, upload);
  assert.equal(sent.at(-1), file.size);
  assert.equal((await client.datasets.upload(file, upload)).id, dataset.id);
  assert.deepEqual(await client.datasets.get(dataset.id), (await client.datasets.list())[0]);
  const { threads, total } = await client.datasets.threads(dataset.id, { limit: 1 });
  assert.deepEqual([threads[0].thread_id, total], ["t1", 2]);
  await assert.rejects(client.datasets.upload(new Blob(["nothing\n"])), (error) => {
    assert.equal(error.status, 422);
    return error.problems.length > 0;
  });

  const params = { app_id: "kaira-bot", dataset_id: dataset.id };
  assert.equal((await client.runs.preview(params)).chosen.threads, 2);
  const job = await client.jobs.submit("evaluate-batch", params);
  const done = await client.watch(job.id, () => {}, { timing: QUICK }).done;
  assert.equal(done.status, "completed");
  const run = done.result.run_id;
  assert.equal((await client.runs.get(run)).dataset_id, dataset.id);
  const { outcomes } = await client.runs.outcomes(run, { limit: 10 });
  assert.deepEqual(outcomes.map(({ thread_id }) => thread_id).sort(), ["t1", "t2"]);
  const thread = await client.runs.thread(run, outcomes[0].id);
  assert.equal(thread.evaluation.thread_id, outcomes[0].thread_id);
  assert.ok(thread.turns.length > 0);
  const { batch, adversarial, llm } = await client.runs.statistics(run);
  assert.ok(batch && !adversarial && llm);
  const { logs } = await client.runs.logs(run, { thread_id: "t1", limit: 1 });
  assert.ok((await client.runs.log(run, logs[0].id)).prompt.length > 0);
  assert.deepEqual((await client.runs.trials(run)).trials, []);

  assert.deepEqual(await client.datasets.remove(dataset.id), { id: dataset.id, deleted: true });
  await assert.rejects(client.datasets.get(dataset.id), { status: 404 });
});

test("a server with tokens knows who asks, by the token or by a sign-in", async () => {
  const closed = new RealServer();
  const { TOKEN, TOKEN_ENTRY } = process.env;
  await closed.start({ EVALQUEUE_API_TOKENS: TOKEN_ENTRY });
  try {
    const stranger = createClient({ baseUrl: closed.url });
    await assert.rejects(stranger.jobs.list(), { status: 401 });
    await assert.rejects(stranger.session.get(), { status: 401 });
    await assert.rejects(
      stranger.watchAll(
        () => {},
        () => {},
      ).done,
      { status: 401 },
    );
    await assert.rejects(stranger.session.signIn("wrong"), { status: 401 });
    const anna = { name: "anna", right: "submit", needs_token: true };
    const holder = createClient({ baseUrl: closed.url, token: TOKEN });
    assert.deepEqual(await holder.session.get(), anna);

    let cookie = "";
    const browser = createClient({
      baseUrl: closed.url,
      async fetch(url, asked) {
        // a minimal browser: it stores cookies
        const headers = { ...asked.headers, Cookie: cookie, Origin: closed.url };
        const reply = await fetch(url, { ...asked, headers });
        for (const given of reply.headers.getSetCookie()) cookie ||= given.split(";")[0];
        return reply;
      },
    });
    assert.deepEqual(await browser.session.signIn(TOKEN), anna);
    assert.deepEqual(await browser.session.get(), anna);
    const job = await browser.jobs.submit("evaluate-batch", { total_items: 1 });
    assert.equal(job.owner, "anna");
    assert.equal(
      (await browser.watch(job.id, () => {}, { timing: QUICK }).done).status,
      "completed",
    );
    assert.deepEqual(
      (await holder.jobs.list()).map(({ id }) => id),
      [job.id],
    ); // not other owners' jobs
    await assert.rejects(holder.queues.pause(QUEUE), { status: 403 });
    await browser.session.signOut();
  } finally {
    await closed.stop();
  }
});

test("queues are paused and resumed, workers are seen", async () => {
  const [queue] = await client.queues.list();
  assert.deepEqual(await client.queues.pause(queue.name), {
    name: queue.name,
    paused: true,
    is_known: true,
  });
  assert.deepEqual(await client.queues.resume(queue.name), {
    name: queue.name,
    paused: false,
    is_known: true,
  });
  await until(async () => (await client.workers.list()).length === 1);
});

test("difficult users are listed, and cases are saved", async () => {
  const app = await client.adversarial.app("kaira-bot");
  assert.ok(app.goals.length > 0);
  assert.deepEqual(await client.adversarial.cases(), []);
});
