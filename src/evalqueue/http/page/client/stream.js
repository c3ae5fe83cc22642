// One event stream, from its request to its end.
import { ApiError, responseError } from "./errors.js";
import { connectionError } from "./transport.js";
import { linkedController } from "./timers.js";
/** The response is not an event stream. */
export class NotAnEventStream extends Error {
}
/** Nothing was received for too long, not even a heartbeat. */
export class StreamTimeout extends Error {
}
/** The events of a stream, until the server ends it. */
export async function* readEvents(transport, path, options) {
    const { controller, release } = linkedController(options.signal);
    const { signal } = controller;
    let timer = startTimeout(controller, options.openingMs);
    const restartTimeout = () => {
        clearTimeout(timer);
        timer = startTimeout(controller, options.silentMs);
    };
    try {
        const body = await open(transport, path, options.parser.lastEventId, signal);
        let isFirst = true;
        for await (const text of decode(body, signal)) {
            restartTimeout();
            if (isFirst)
                options.onFirstByte();
            isFirst = false;
            yield* options.parser.push(text);
        }
    }
    finally {
        clearTimeout(timer);
        release();
        controller.abort(); // closes the connection
    }
}
function startTimeout(controller, ms) {
    return setTimeout(() => controller.abort(new StreamTimeout(`Nothing was received for ${ms} ms`)), ms);
}
async function open(transport, path, lastEventId, signal) {
    const headers = { Accept: "text/event-stream" };
    if (lastEventId !== "")
        headers["Last-Event-ID"] = lastEventId;
    const response = await abortable(transport.send(path, { headers, signal }), signal);
    if (!response.ok) {
        throw responseError(response, await abortable(response.text(), signal));
    }
    const type = response.headers.get("content-type") ?? "";
    if (response.status !== 200 || !type.startsWith("text/event-stream") || !response.body) {
        throw new NotAnEventStream(`The response is ${response.status} ${type}`);
    }
    return response.body;
}
async function* decode(body, signal) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    try {
        for (;;) {
            const { done, value } = await abortable(reader.read(), signal);
            if (done)
                return;
            yield decoder.decode(value, { stream: true });
        }
    }
    catch (error) {
        throw error instanceof ApiError ? error : connectionError(error, signal);
    }
    finally {
        reader.cancel().catch(() => { }); // fails if the stream has failed
    }
}
/** The promise, rejected early if the signal is aborted: not every `fetch` obeys its signal. */
function abortable(promise, signal) {
    return new Promise((resolve, reject) => {
        if (signal.aborted)
            reject(signal.reason);
        const stop = () => reject(signal.reason);
        signal.addEventListener("abort", stop, { once: true });
        promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
    });
}
