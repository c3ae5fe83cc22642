// One stream of events, from its opening to its end.
import { ApiError, refusal } from "./errors.js";
import { type Line, unreachable } from "./line.js";
import { EventParser, type ServerEvent } from "./sse.js";
import { follower } from "./waiting.js";

/** There is an answer, but nothing that could be followed. */
export class NotAStream extends Error {}

/** Nothing was heard for too long, not even a heartbeat. */
export class Silent extends Error {}

export interface Opened {
  parser: EventParser;
  signal: AbortSignal;
  /** Until the first byte: a proxy that holds replies back is not waited for as long. */
  openingMs: number;
  /** Between two bytes. */
  silentMs: number;
  /** The server is heard, for the first time. */
  onHeard: () => void;
}

/** The events of a stream, until the server ends it. */
export async function* events(
  line: Line,
  path: string,
  opened: Opened,
): AsyncGenerator<ServerEvent> {
  const { controller, release } = follower(opened.signal);
  const { signal } = controller;
  let timer = silence(controller, opened.openingMs);
  const heard = () => {
    clearTimeout(timer);
    timer = silence(controller, opened.silentMs);
  };
  try {
    const body = await open(line, path, opened.parser.lastEventId, signal);
    let isFirst = true;
    for await (const text of texts(body, signal)) {
      heard();
      if (isFirst) opened.onHeard();
      isFirst = false;
      yield* opened.parser.push(text);
    }
  } finally {
    clearTimeout(timer);
    release();
    controller.abort(); // closes the connection, however this was left
  }
}

function silence(controller: AbortController, ms: number): ReturnType<typeof setTimeout> {
  return setTimeout(() => controller.abort(new Silent(`Nothing was heard for ${ms} ms`)), ms);
}

async function open(
  line: Line,
  path: string,
  lastEventId: string,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (lastEventId !== "") headers["Last-Event-ID"] = lastEventId;
  const reply = await given(line.send(path, { headers, signal }), signal);
  if (!reply.ok) {
    throw refusal(reply.status, reply.statusText, reply.headers, await given(reply.text(), signal));
  }
  const type = reply.headers.get("content-type") ?? "";
  if (reply.status !== 200 || !type.startsWith("text/event-stream") || !reply.body) {
    throw new NotAStream(`The answer is ${reply.status} ${type}`);
  }
  return reply.body;
}

async function* texts(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await given(reader.read(), signal);
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } catch (error) {
    throw error instanceof ApiError ? error : unreachable(error, signal);
  } finally {
    reader.cancel().catch(() => {}); // it may have failed: that is why we are here
  }
}

/** What was promised, unless the signal comes first: not every fetch looks at its signal. */
function given<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
