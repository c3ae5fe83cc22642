// Watching jobs, with failures of servers and connections, and hidden tabs.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as after } from "node:timers/promises";

import { ApiError, createClient } from "../../src/evalqueue/http/page/client/index.js";
import { aJob, EventsServer, json } from "./lib/events-server.mjs";
import { CuttableProxy, QUICK, Tab, until } from "./lib/parts.mjs";

const ID = "5b9b4f0e-5f7e-4c57-9d4f-0d8a51b7a0c1";

let server;
let proxy;
let begun;

beforeEach(async () => {
  begun = [];
  server = await new EventsServer().start();
  server.change(ID, {});
  proxy = await new CuttableProxy().start(server.port);
});

afterEach(async () => {
  for (const watch of begun) watch.stop();
  await proxy.stop();
  await server.stop().catch(() => {});
});

/** Watch the job, and keep what is received. */
function watching({ url = server.url, timing = {}, fetch, ...options } = {}) {
  const received = { jobs: [], states: [] };
  const client = createClient({ baseUrl: url, token: "abc", fetch });
  const watch = client.watch(ID, (job) => received.jobs.push(job), {
    timing: { ...QUICK, ...timing },
    onState: (state) => received.states.push(state),
    ...options,
  });
  begun.push(watch);
  return Object.assign(received, {
    watch,
    revisions: () => received.jobs.map(({ revision }) => revision),
  });
}

function watchingAll({ url = server.url, ...options } = {}) {
  const received = { jobs: [], states: [], resyncs: 0 };
  const client = createClient({ baseUrl: url });
  const watch = client.watchAll(
    (job) => received.jobs.push(job),
    () => (received.resyncs += 1),
    {
      timing: QUICK,
      onState: (state) => received.states.push(state),
      ...options,
    },
  );
  begun.push(watch);
  return Object.assign(received, { watch });
}

test("each change is passed on as it happens, until the job is over", async () => {
  const received = watching();
  await until(() => received.jobs.length === 1);
  server.change(ID, { progress: { current: 3, total: 5, message: "3/5" } });
  await until(() => received.jobs.length === 2);
  server.change(ID, { status: "completed", result: { fine: true } });
  const job = await received.watch.done;
  assert.deepEqual(job, received.jobs[2]);
  assert.deepEqual(job.result, { fine: true });
  assert.deepEqual(received.states, ["live"]);
  assert.deepEqual(
    server.requests.map(({ path }) => path),
    [`/api/jobs/${ID}/events`],
  );
  assert.equal(server.requests[0].authorization, "Bearer abc");
  await until(() => server.streams === 0);
});

test("a server that is restarted is found again", async () => {
  const received = watching();
  await until(() => received.jobs.length === 1);
  await server.stop();
  await until(() => received.states.includes("reconnecting"));
  await after(300); // some failed attempts
  await server.start();
  server.change(ID, {});
  await until(() => received.states.length === 3);
  assert.deepEqual(received.states, ["live", "reconnecting", "live"]);
  server.change(ID, { status: "failed" });
  assert.equal((await received.watch.done).status, "failed");
  assert.equal(server.requests.at(-1).lastEventId, "1");
});

test("a job that ends while the connection is down is seen to have ended", async () => {
  const received = watching({ url: proxy.url });
  await until(() => received.jobs.length === 1);
  server.jobs.set(ID, aJob(ID, { revision: 9, status: "cancelled" })); // without an event
  proxy.cut();
  assert.equal((await received.watch.done).status, "cancelled");
  assert.deepEqual(received.revisions(), [1, 9]);
});

test("a connection that is cut again and again is opened again and again", async () => {
  const received = watching({ url: proxy.url });
  for (let round = 1; round <= 5; round += 1) {
    await until(() => received.jobs.at(-1)?.revision === round);
    proxy.cut();
    server.change(ID, {});
  }
  server.change(ID, { status: "completed" });
  await received.watch.done;
  assert.deepEqual(
    received.revisions(),
    [...received.revisions()].sort((a, b) => a - b),
  );
});

test("a stream that falls silent is given up, one with heartbeats is not", async () => {
  const received = watching({ timing: { silentMs: 6_000 } });
  await until(() => received.jobs.length === 1);
  await after(7_000);
  assert.deepEqual(received.states, ["live"]);
  server.heartbeatMs = 60_000;
  server.cut();
  await until(() => received.states.join().startsWith("live,reconnecting,live,reconnecting,live"));
  await until(() => server.streams === 1); // the silent ones were closed
});

test("a hidden tab closes the stream, and reads again when it is shown", async () => {
  const tab = new Tab();
  const received = watching({ visibility: tab });
  await until(() => received.jobs.length === 1);
  tab.hide(true);
  await until(() => server.streams === 0);
  server.change(ID, {});
  await after(100);
  assert.equal(received.jobs.length, 1);
  tab.hide(false);
  await until(() => received.jobs.length === 2);
  assert.deepEqual(received.states, ["live", "paused", "live"]);
});

test("a tab that is hidden from the start asks for nothing", async () => {
  const tab = new Tab();
  tab.hidden = true;
  const received = watching({ visibility: tab });
  await after(100);
  assert.deepEqual([received.states, server.requests], [["paused"], []]);
  tab.hide(false);
  await until(() => received.jobs.length === 1);
});

test("a tab that is hidden while the server is away waits to be shown", async () => {
  const tab = new Tab();
  const received = watching({ visibility: tab, timing: { retryMs: 20, maxRetryMs: 40 } });
  await until(() => received.jobs.length === 1);
  await server.stop();
  await until(() => received.states.includes("reconnecting"));
  tab.hide(true);
  await until(() => received.states.at(-1) === "paused");
  await server.start();
  const { length } = server.requests;
  await after(200);
  assert.equal(server.requests.length, length);
  tab.hide(false);
  await until(() => received.states.at(-1) === "live");
});

test("a tab that is hidden in a long wait need not wait when it is shown", async () => {
  const tab = new Tab();
  server.instead = (_request, response) => {
    json(response, 429, { detail: "Slowly" }, { "Retry-After": "60" });
    return true;
  };
  const received = watching({ visibility: tab });
  await until(() => received.states.at(-1) === "reconnecting");
  tab.hide(true);
  await until(() => received.states.at(-1) === "paused");
  server.instead = null;
  tab.hide(false);
  await until(() => received.states.at(-1) === "live");
});

const NO_STREAMS = {
  "no such route": (response) => json(response, 404, { detail: "Not Found" }),
  "too many watchers": (response) =>
    json(response, 503, { detail: "Too many" }, { "Retry-After": "0.1" }),
  "a page instead": (response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    response.end("<h1>Welcome to the hotel's network</h1>");
  },
  "a proxy that holds everything back": () => {},
  "a proxy that holds the body back": (response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.flushHeaders();
  },
  "streams that are refused outright": (response) => response.destroy(),
  "streams that end at once": (response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.end();
  },
};

for (const [name, answer] of Object.entries(NO_STREAMS)) {
  test(`where streaming is not possible, jobs are polled: ${name}`, async () => {
    server.instead = ({ url }, response) => {
      if (!url.endsWith("/events")) return false;
      answer(response);
      return true;
    };
    const received = watching({ timing: { openingMs: 500 } });
    await until(() => received.states.includes("polling"));
    await until(() => received.jobs.length === 1);
    server.change(ID, {});
    await until(() => received.jobs.length === 2);
    server.instead = null; // and is possible later
    await until(() => received.states.at(-1) === "live");
    server.change(ID, { status: "completed" });
    await received.watch.done;
    assert.deepEqual(received.revisions(), [1, 2, 3]);
  });
}

test("a server that asks for patience gets it", async () => {
  const times = [];
  server.instead = ({ url }, response) => {
    if (!url.endsWith("/events")) return false;
    times.push(performance.now());
    if (times.length > 1) return false;
    json(response, 429, { detail: "Slowly" }, { "Retry-After": "0.6" });
    return true;
  };
  const received = watching();
  await until(() => received.jobs.length === 1);
  assert.ok(times[1] - times[0] >= 590);
  assert.deepEqual(received.states, ["reconnecting", "live"]);
});

test("what polling meets is waited out, too", async () => {
  let polls = 0;
  server.instead = ({ url }, response) => {
    if (url.endsWith("/events")) {
      json(response, 404, { detail: "Not Found" });
      return true;
    }
    polls += 1;
    if (polls > 3) return false;
    json(response, [500, 502, 429][polls - 1], { detail: "?" });
    return true;
  };
  const received = watching({ timing: { restreamMs: 60_000 } });
  await until(() => received.jobs.length === 1);
  assert.deepEqual(received.states, ["polling"]);
});

for (const [status, detail] of [
  [401, "Who are you?"],
  [403, "Not you"],
  [404, "Job not found"],
]) {
  test(`what can't be waited out is an error: ${status}`, async () => {
    server.instead = (_request, response) => {
      json(response, status, { detail });
      return true;
    };
    await assert.rejects(
      watching().watch.done,
      (error) => error instanceof ApiError && error.status === status && error.detail === detail,
    );
  });
}

test("an older state is never passed on after a newer one", async () => {
  const received = watching();
  await until(() => received.jobs.length === 1);
  server.change(ID, { revision: 20, status: "running" });
  await until(() => received.jobs.length === 2);
  for (const revision of [3, 19]) {
    const older = aJob(ID, { revision, status: "completed" });
    server.sendRaw(`event: job\ndata: ${JSON.stringify(older)}\n\n`);
  }
  server.change(ID, { revision: 21, status: "completed" });
  await received.watch.done;
  assert.deepEqual(received.revisions(), [1, 20, 21]);
});

test("invalid events are not passed on; the state is requested instead", async () => {
  const received = watching();
  await until(() => received.jobs.length === 1);
  const other = JSON.stringify(aJob("11111111-1111-1111-1111-111111111111", { revision: 99 }));
  const nonsense = [
    "{",
    "null",
    "[]",
    '"x"',
    "1e999",
    "{}",
    '{"id":1}',
    `{"id":"${ID}"}`,
    other,
    `{"id":"${ID}","status":"completed","progress":null}`,
    `{"id":"${ID}","status":"completed","progress":{},"revision":"9","params":{}}`,
    JSON.stringify({ ...aJob(ID, { revision: 99, status: "completed" }), params: undefined }),
    '{"__proto__":{"id":"x"}}',
    "[".repeat(50_000) + "]".repeat(50_000),
  ];
  for (const data of nonsense) {
    server.jobs.set(ID, { ...server.jobs.get(ID), revision: server.jobs.get(ID).revision + 1 });
    server.sendRaw(`event: job\ndata: ${data}\n\n`);
    await until(() => received.jobs.at(-1).revision === server.jobs.get(ID).revision);
  }
  server.sendRaw("event: unknown\ndata: {\n\n\u0000\uFFFF\n\n: \n\nid\ndata\n\n");
  server.change(ID, { status: "completed" });
  await received.watch.done;
  assert.ok(received.jobs.every(({ id, progress }) => id === ID && progress));
  assert.deepEqual(received.states, ["live"]);
  assert.equal({}.id, undefined);
});

test("once it is stopped nothing is received, and the promise says why", async () => {
  const received = watching();
  await until(() => received.jobs.length === 1);
  server.change(ID, {});
  received.watch.stop();
  await assert.rejects(received.watch.done, { name: "AbortError" });
  await until(() => server.streams === 0);
  assert.equal(received.jobs.length, 1);
  received.watch.stop(); // stopping twice is allowed
});

test("a callback may stop the watch, in the middle of many events", async () => {
  const client = createClient({ baseUrl: server.url });
  const seen = [];
  const watch = client.watch(
    ID,
    (job) => {
      seen.push(job.revision);
      if (job.revision === 1) {
        const events = [2, 3, 4].map((revision) => JSON.stringify(aJob(ID, { revision })));
        server.sendRaw(events.map((data) => `event: job\ndata: ${data}\n\n`).join(""));
      }
      if (job.revision === 2) watch.stop();
    },
    { timing: QUICK },
  );
  await assert.rejects(watch.done, { name: "AbortError" });
  assert.deepEqual(seen, [1, 2]);
});

test("an answer that is no stream and never ends is closed", async () => {
  let asked = 0;
  let open = 0;
  server.instead = ({ url }, response) => {
    if (!url.endsWith("/events")) return false;
    asked += 1;
    open += 1;
    response.on("close", () => (open -= 1));
    response.writeHead(200, { "Content-Type": "text/html" });
    response.write("<h1>Welcome");
    return true;
  };
  const received = watching({ fetch: keeping(), timing: { restreamMs: 20_000 } });
  await until(() => received.jobs.length === 1); // polled, while the watch goes on
  await until(() => open === 0);
  assert.equal(asked, 1);
});

/** A fetch whose answers are not closed by a garbage collector. */
function keeping(ask = fetch) {
  const responses = [];
  return async (...given) => {
    responses.push(await ask(...given));
    return responses.at(-1);
  };
}

test("a stream is closed with the watch, even where fetch does not look at signals", async () => {
  const received = watching({
    fetch: keeping((url, { signal: _, ...asked }) => fetch(url, asked)),
  });
  await until(() => received.jobs.length === 1);
  received.watch.stop();
  await assert.rejects(received.watch.done, { name: "AbortError" });
  await until(() => server.streams === 0);
});

test("a stream that has not begun is given up with the watch", async () => {
  let asked = 0;
  let open = 0;
  server.instead = (_request, response) => {
    asked += 1;
    open += 1;
    response.on("close", () => (open -= 1));
    return true; // and never sends a byte
  };
  const received = watching();
  await until(() => asked === 1);
  received.watch.stop();
  await assert.rejects(received.watch.done, { name: "AbortError" });
  await until(() => open === 0);
  assert.equal(asked, 1);
});

test("a stream whose end is not read leaves its connection when the watch ends", async () => {
  let closed = false;
  server.instead = ({ url }, response) => {
    if (!url.endsWith("/events")) return false;
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(
      `event: job\nid: 2\ndata: ${JSON.stringify(aJob(ID, { status: "completed" }))}\n\n`,
    );
    response.on("close", () => (closed = true));
    return true; // the last event, and no end
  };
  assert.equal((await watching({ fetch: keeping() }).watch.done).status, "completed");
  await until(() => closed);
});

test("nothing listens to the tab once a watch is over, however many streams it took", async () => {
  const tab = new Tab();
  let listening = 0;
  const { addEventListener, removeEventListener } = tab;
  tab.addEventListener = (...given) => {
    listening += 1;
    addEventListener.apply(tab, given);
  };
  tab.removeEventListener = (...given) => {
    listening -= 1;
    removeEventListener.apply(tab, given);
  };
  const received = watching({ visibility: tab });
  for (let round = 1; round <= 3; round += 1) {
    await until(() => server.streams === 1);
    assert.equal(listening, 1);
    server.cut();
    await until(() => received.states.length === 2 * round);
  }
  await until(() => received.states.at(-1) === "live");
  server.change(ID, { status: "completed" });
  await received.watch.done;
  assert.equal(listening, 0);
});

test("a signal stops it as well, before and after", async () => {
  const controller = new AbortController();
  const received = watching({ signal: controller.signal });
  await until(() => received.jobs.length === 1);
  controller.abort(new Error("enough"));
  await assert.rejects(received.watch.done, { message: "enough" });
  const asked = server.requests.length;
  await assert.rejects(watching({ signal: controller.signal }).watch.done, { message: "enough" });
  assert.equal(server.requests.length, asked);
});

test("all jobs: goes on after the last event it had, and misses none", async () => {
  const received = watchingAll({ url: proxy.url });
  await until(() => server.streams === 1);
  server.change(ID, {});
  await until(() => received.jobs.length === 1);
  proxy.cut();
  await until(() => server.streams === 0);
  server.change(ID, {});
  server.change("22222222-2222-2222-2222-222222222222", {});
  await until(() => received.jobs.length === 3);
  assert.deepEqual(
    received.jobs.map(({ revision }) => revision),
    [2, 3, 1],
  );
  assert.equal(server.requests.at(-1).lastEventId, "2");
  assert.equal(received.resyncs, 0);
  assert.ok(!("params" in received.jobs[0]));
});

test("all jobs: says when something may have been missed", async () => {
  const received = watchingAll({ url: proxy.url });
  await until(() => received.states.at(-1) === "live");
  proxy.cut(); // before any event, so there is no event id to resume from
  await until(() => received.resyncs === 1);
  server.change(ID, {});
  await until(() => received.jobs.length === 1);
  server.sendRaw("event: resync\ndata: {}\n\n");
  await until(() => received.resyncs === 2);
});

test("all jobs: an event that can't be read is made up for", async () => {
  const received = watchingAll();
  await until(() => server.streams === 1);
  server.jobs.set(ID, aJob(ID, { revision: 5 }));
  server.sendRaw("event: job\ndata: {oh\n\n");
  await until(() => received.jobs.length === 1);
  assert.equal(received.jobs[0].revision, 5);
  assert.ok(!("params" in received.jobs[0]));
});

test("all jobs: polled where streaming is not possible", async () => {
  server.instead = ({ url }, response) => {
    if (!url.startsWith("/api/events")) return false;
    json(response, 404, { detail: "Not Found" });
    return true;
  };
  const received = watchingAll();
  await until(() => received.jobs.length === 1);
  assert.deepEqual(received.states, ["polling"]);
  received.watch.stop();
  await assert.rejects(received.watch.done, { name: "AbortError" });
});

test("a callback that throws is reported, and the other events are passed on", async () => {
  const reported = [];
  const listen = (error) => reported.push(error.message);
  process.on("uncaughtException", listen);
  const others = process.listeners("uncaughtException").filter((each) => each !== listen);
  for (const each of others) process.off("uncaughtException", each);
  try {
    const client = createClient({ baseUrl: server.url });
    const watch = client.watch(
      ID,
      () => {
        throw new Error("a bug of the page");
      },
      { timing: QUICK },
    );
    await until(() => reported.length === 1);
    server.change(ID, { status: "completed" });
    assert.equal((await watch.done).status, "completed");
    await until(() => reported.length === 2);
  } finally {
    process.off("uncaughtException", listen);
    for (const each of others) process.on("uncaughtException", each);
  }
});

for (const mode of ["live", "polling", "reconnecting"]) {
  test(`a process that has stopped watching ends by itself: ${mode}`, async () => {
    server.instead = ({ url }, response) => {
      if (mode === "live" || !url.endsWith("/events")) return false;
      json(response, mode === "polling" ? 404 : 429, { detail: "No" }, { "Retry-After": "60" });
      return true;
    };
    const client = fileURLToPath(
      import.meta.resolve("../../src/evalqueue/http/page/client/index.js"),
    );
    const script = `
      import { createClient } from ${JSON.stringify(client)};
      const client = createClient({ baseUrl: ${JSON.stringify(server.url)} });
      const watch = client.watch("${ID}", () => {}, {
        timing: { pollMs: 60_000 },
        onState: (state) => state === "${mode}" && setTimeout(() => watch.stop(), 50),
      });`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: "inherit",
    });
    const began = performance.now();
    const [code] = await once(child, "exit");
    assert.equal(code, 0);
    assert.ok(performance.now() - began < 50_000);
  });
}
