// The parser of event streams, on whatever pieces the network makes of them.
import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, MAX_EVENT, EventTooLarge } from "../../src/evalqueue/http/page/client/sse.js";

const STREAM = [
  "\uFEFFretry: 1500\n",
  ": heartbeat\n",
  "\n",
  'id: 7\nevent: job\ndata: {"a":\ndata:  1}\n\n',
  "data\r\n\r\n",
  "id\rdata:x\r\r",
  "id: 8\n\n",
  "nonsense\nid: a\0b\nretry: soon\ndata: ä€🙂\n\n",
  "data: never finished",
].join("");

const EVENTS = [
  { type: "job", data: '{"a":\n 1}', id: "7" },
  { type: "message", data: "", id: "7" },
  { type: "message", data: "x", id: "" },
  { type: "message", data: "ä€🙂", id: "8" },
];

function read(pieces) {
  const parser = new EventParser();
  const found = [];
  for (const piece of pieces) {
    for (const event of parser.push(piece)) found.push({ ...event, id: parser.lastEventId });
  }
  return { found, parser };
}

test("a stream is the same in one piece, in characters, and in any two", () => {
  const cuts = Array.from(STREAM, (_, at) => at).map((at) => [
    STREAM.slice(0, at),
    STREAM.slice(at),
  ]);
  for (const pieces of [[STREAM], [...STREAM].flatMap((each) => ["", each]), ...cuts]) {
    const { found, parser } = read(pieces);
    assert.deepEqual(found, EVENTS, JSON.stringify(pieces));
    assert.equal(parser.retryMs, 1500);
  }
});

test("an event without an end is given up", () => {
  const parser = new EventParser();
  const piece = `data: ${"x".repeat(1024 * 1024)}`;
  assert.throws(() => {
    for (let size = 0; size <= MAX_EVENT + piece.length; size += piece.length) {
      [...parser.push(size ? piece.slice(6) : piece)];
    }
  }, EventTooLarge);
});

test("a large event in small pieces takes no longer than its length", () => {
  const began = process.cpuUsage();
  const { found } = read(["data: ", ...Array(100_000).fill("x".repeat(100)), "\n\n"]);
  assert.equal(found[0].data.length, 10_000_000);
  assert.ok(process.cpuUsage(began).user < 5_000_000); // µs; it would be minutes
});
