// A subscription to changes on the server: streamed where possible, else polled, and paused while
// the tab is hidden.
import { ApiError } from "./errors.js";
import { EventParser, EventTooLarge } from "./sse.js";
import { NotAnEventStream, readEvents, StreamTimeout } from "./stream.js";
import { untilHidden, visibility } from "./visibility.js";
import { backoff, linkedController, sleep } from "./timers.js";
export const TIMING = {
    silentMs: 45_000,
    openingMs: 10_000,
    retryMs: 1_000,
    maxRetryMs: 60_000,
    restreamMs: 60_000,
    pollMs: 2_000,
};
const UNAVAILABLE = { kind: "unavailable", retryMs: 0 };
/** After so many streams in a row without a byte, streaming may not work at all. */
const MAX_UNOPENED_STREAMS = 3;
/** A stream that lasted so long resets the count of failures. */
const STABLE_STREAM_MS = 5_000;
const HIDDEN = Symbol("the tab is hidden");
export class Subscription {
    #transport;
    #source;
    #options;
    #visible;
    #timing;
    #lastEventId = "";
    #retryMs;
    #state = null;
    #failures = 0;
    #unopenedStreams = 0;
    /** Whether the API answered after the last stream, which had sent nothing. */
    #isAnswered = false;
    #hasBeenOpen = false;
    #openedAt = null;
    constructor(transport, source, options) {
        this.#transport = transport;
        this.#source = source;
        this.#options = options;
        this.#visible = options.visibility ?? visibility();
        this.#timing = { ...TIMING, ...options.timing };
        this.#retryMs = this.#timing.retryMs;
    }
    /** Runs until the source is done. Rejects with a permanent error, or with the signal's reason. */
    async run(signal) {
        for (;;) {
            await this.#untilVisible(signal);
            const end = await this.#stream(signal);
            if (end.kind === "done")
                return;
            if (end.kind === "hidden")
                continue;
            // A proxy or a browser's extension may refuse streams, and let other requests pass. A server
            // that has just come back is told from that by one more stream.
            const wasAnswered = this.#isAnswered;
            this.#isAnswered = end.kind === "interrupted" && (await this.#doesApiAnswer(signal));
            if (this.#isAnswered && !wasAnswered)
                continue;
            if (end.kind === "interrupted" && !this.#isAnswered) {
                this.#setState("reconnecting");
                const ms = backoff(this.#failures, this.#retryMs, this.#timing.maxRetryMs);
                await this.#sleep(Math.max(ms, end.retryMs), signal);
            }
            else if (await this.#poll(Math.max(this.#timing.restreamMs, end.retryMs), signal)) {
                return;
            }
        }
    }
    async #stream(signal) {
        const { controller, release } = linkedController(signal);
        untilHidden(true, this.#visible, controller.signal).then(() => controller.abort(HIDDEN), () => { });
        const parser = new EventParser(this.#lastEventId);
        this.#openedAt = null;
        try {
            const stream = readEvents(this.#transport, this.#source.path, {
                parser,
                signal: controller.signal,
                openingMs: this.#timing.openingMs,
                silentMs: this.#timing.silentMs,
                onFirstByte: () => this.#onFirstByte(),
            });
            for await (const event of stream) {
                controller.signal.throwIfAborted(); // a listener may have aborted it
                if (await this.#handle(event, controller.signal))
                    return { kind: "done" };
            }
            return this.#interrupted(0);
        }
        catch (error) {
            signal.throwIfAborted();
            return controller.signal.reason === HIDDEN ? { kind: "hidden" } : this.#failed(error);
        }
        finally {
            this.#lastEventId = parser.lastEventId;
            this.#retryMs = parser.retryMs ?? this.#retryMs;
            release();
            controller.abort();
        }
    }
    /** Whether the source is done. */
    async #handle(event, signal) {
        const outcome = this.#source.onEvent(event);
        if (outcome === "invalid")
            return (await this.#source.poll(signal, this.#timing)) === null;
        return outcome === "done";
    }
    #onFirstByte() {
        this.#unopenedStreams = 0;
        this.#openedAt = performance.now();
        this.#source.onOpen(this.#hasBeenOpen && this.#lastEventId === "");
        this.#hasBeenOpen = true;
        this.#setState("live");
    }
    /** The stream ended early, such as when the server restarts or the connection is cut. */
    #interrupted(retryMs) {
        const wasStable = this.#openedAt !== null && performance.now() - this.#openedAt > STABLE_STREAM_MS;
        this.#failures = wasStable ? 1 : this.#failures + 1;
        if (this.#openedAt === null)
            this.#unopenedStreams += 1;
        return { kind: "interrupted", retryMs };
    }
    /** Whether the API answers, though a number of streams in a row have sent nothing. */
    async #doesApiAnswer(signal) {
        if (this.#unopenedStreams < MAX_UNOPENED_STREAMS)
            return false;
        try {
            await this.#source.poll(signal, this.#timing);
            return true;
        }
        catch (error) {
            if (error instanceof ApiError && error.isTransient)
                return false;
            throw error;
        }
    }
    #failed(error) {
        if (error instanceof NotAnEventStream || error instanceof EventTooLarge)
            return UNAVAILABLE;
        if (error instanceof StreamTimeout) {
            return this.#openedAt === null ? UNAVAILABLE : this.#interrupted(0);
        }
        if (!(error instanceof ApiError))
            throw error;
        const retryMs = (error.retryAfter ?? 0) * 1000;
        if (STREAM_UNAVAILABLE.has(error.status))
            return { kind: "unavailable", retryMs };
        if (!error.isTransient)
            throw error;
        return this.#interrupted(retryMs);
    }
    /** Whether the source is done. */
    async #poll(durationMs, signal) {
        const end = performance.now() + durationMs;
        for (let failures = 0;;) {
            await this.#untilVisible(signal);
            this.#setState("polling");
            let waitMs;
            try {
                const next = await this.#source.poll(signal, this.#timing);
                if (next === null)
                    return true;
                failures = 0;
                waitMs = next;
            }
            catch (error) {
                if (!(error instanceof ApiError) || !error.isTransient)
                    throw error;
                failures += 1;
                const ms = backoff(failures, this.#timing.retryMs, this.#timing.maxRetryMs);
                waitMs = Math.max(ms, (error.retryAfter ?? 0) * 1000);
            }
            if (performance.now() + waitMs >= end) {
                await this.#sleep(waitMs, signal);
                return false;
            }
            await this.#sleep(waitMs, signal);
        }
    }
    async #untilVisible(signal) {
        if (this.#visible.hidden)
            this.#setState("paused");
        await untilHidden(false, this.#visible, signal);
    }
    /** Waits, but not longer than the tab is visible. */
    async #sleep(ms, signal) {
        const { controller, release } = linkedController(signal);
        try {
            await Promise.race([
                sleep(ms, controller.signal),
                untilHidden(true, this.#visible, controller.signal),
            ]);
        }
        finally {
            release();
            controller.abort();
        }
    }
    #setState(state) {
        if (state === this.#state)
            return;
        this.#state = state;
        callListener(() => this.#options.onState?.(state));
    }
}
/** No such route or job (polling will tell), no acceptable content, too many streams. */
const STREAM_UNAVAILABLE = new Set([404, 405, 406, 410, 501, 503]);
/** Calls a listener. If it throws, its error is reported as uncaught, and the caller continues. */
export function callListener(listener) {
    try {
        listener();
    }
    catch (error) {
        queueMicrotask(() => {
            throw error;
        });
    }
}
