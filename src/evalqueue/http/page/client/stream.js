// One stream of events, from its opening to its end.
import { ApiError, refusal } from "./errors.js";
import { unreachable } from "./line.js";
import { EventParser } from "./sse.js";
import { follower } from "./waiting.js";
/** There is an answer, but nothing that could be followed. */
export class NotAStream extends Error {
}
/** Nothing was heard for too long, not even a heartbeat. */
export class Silent extends Error {
}
/** The events of a stream, until the server ends it. */
export async function* events(line, path, opened) {
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
            if (isFirst)
                opened.onHeard();
            isFirst = false;
            yield* opened.parser.push(text);
        }
    }
    finally {
        clearTimeout(timer);
        release();
        controller.abort(); // closes the connection, however this was left
    }
}
function silence(controller, ms) {
    return setTimeout(() => controller.abort(new Silent(`Nothing was heard for ${ms} ms`)), ms);
}
async function open(line, path, lastEventId, signal) {
    const headers = { Accept: "text/event-stream" };
    if (lastEventId !== "")
        headers["Last-Event-ID"] = lastEventId;
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
async function* texts(body, signal) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    try {
        for (;;) {
            const { done, value } = await given(reader.read(), signal);
            if (done)
                return;
            yield decoder.decode(value, { stream: true });
        }
    }
    catch (error) {
        throw error instanceof ApiError ? error : unreachable(error, signal);
    }
    finally {
        reader.cancel().catch(() => { }); // it may have failed: that is why we are here
    }
}
/** What was promised, unless the signal comes first: not every fetch looks at its signal. */
function given(promise, signal) {
    return new Promise((resolve, reject) => {
        if (signal.aborted)
            reject(signal.reason);
        const stop = () => reject(signal.reason);
        signal.addEventListener("abort", stop, { once: true });
        promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
    });
}
