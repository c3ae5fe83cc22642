// A subscription to changes on the server: streamed where possible, else polled, and paused while
// the tab is hidden.
import { ApiError } from "./errors.js";
import type { Transport } from "./transport.js";
import { EventParser, type ServerEvent, EventTooLarge } from "./sse.js";
import { NotAnEventStream, readEvents, StreamTimeout } from "./stream.js";
import { untilHidden, type Visible, visibility } from "./visibility.js";
import { backoff, linkedController, sleep } from "./timers.js";

/** How changes are received at the moment. */
export type WatchState = "live" | "reconnecting" | "polling" | "paused";

/** Milliseconds. */
export interface Timing {
  /** A stream that sends nothing for so long, not even a heartbeat, is closed. */
  silentMs: number;
  /** A stream that has sent nothing by then is assumed to be buffered by a proxy. */
  openingMs: number;
  /** The delay after a first failure; doubled with each further one. */
  retryMs: number;
  /** The longest delay after a failure. */
  maxRetryMs: number;
  /** How long to poll before streaming is tried again. */
  restreamMs: number;
  /** The shortest time between two polls. */
  pollMs: number;
}

export const TIMING: Readonly<Timing> = {
  silentMs: 45_000,
  openingMs: 10_000,
  retryMs: 1_000,
  maxRetryMs: 60_000,
  restreamMs: 60_000,
  pollMs: 2_000,
};

export interface WatchOptions {
  /** Called whenever the state changes. */
  onState?: ((state: WatchState) => void) | undefined;
  /** Stops the watch when it is aborted. */
  signal?: AbortSignal | undefined;
  /** Whether the tab is visible; default: the page's document. */
  visibility?: Visible | undefined;
  /** Default: `TIMING`. */
  timing?: Partial<Timing> | undefined;
}

/** What is subscribed to. */
export interface Source {
  readonly path: string;
  /** Handles an event. "invalid": something has changed, but the event can't be read. */
  onEvent(event: ServerEvent): "continue" | "done" | "invalid";
  /** A stream was opened. `hasGap`: it is not the first, and can't continue after a known event. */
  onOpen(hasGap: boolean): void;
  /** Reads the current state. Null: it is final; else the milliseconds until the next poll. */
  poll(signal: AbortSignal, timing: Timing): Promise<number | null>;
}

type StreamEnd =
  { kind: "done" } | { kind: "hidden" } | { kind: "interrupted" | "unavailable"; retryMs: number };

const UNAVAILABLE: StreamEnd = { kind: "unavailable", retryMs: 0 };

/** After so many streams in a row without a byte, streaming may not work at all. */
const MAX_UNOPENED_STREAMS = 3;

/** A stream that lasted so long resets the count of failures. */
const STABLE_STREAM_MS = 5_000;

const HIDDEN = Symbol("the tab is hidden");

export class Subscription {
  readonly #transport: Transport;
  readonly #source: Source;
  readonly #options: WatchOptions;
  readonly #visible: Visible;
  readonly #timing: Timing;
  #lastEventId = "";
  #retryMs: number;
  #state: WatchState | null = null;
  #failures = 0;
  #unopenedStreams = 0;
  /** Whether the API answered after the last stream, which had sent nothing. */
  #isAnswered = false;
  #hasBeenOpen = false;
  #openedAt: number | null = null;

  constructor(transport: Transport, source: Source, options: WatchOptions) {
    this.#transport = transport;
    this.#source = source;
    this.#options = options;
    this.#visible = options.visibility ?? visibility();
    this.#timing = { ...TIMING, ...options.timing };
    this.#retryMs = this.#timing.retryMs;
  }

  /** Runs until the source is done. Rejects with a permanent error, or with the signal's reason. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#untilVisible(signal);
      const end = await this.#stream(signal);
      if (end.kind === "done") return;
      if (end.kind === "hidden") continue;
      // A proxy or a browser's extension may refuse streams, and let other requests pass. A server
      // that has just come back is told from that by one more stream.
      const wasAnswered = this.#isAnswered;
      this.#isAnswered = end.kind === "interrupted" && (await this.#doesApiAnswer(signal));
      if (this.#isAnswered && !wasAnswered) continue;
      if (end.kind === "interrupted" && !this.#isAnswered) {
        this.#setState("reconnecting");
        const ms = backoff(this.#failures, this.#retryMs, this.#timing.maxRetryMs);
        await this.#sleep(Math.max(ms, end.retryMs), signal);
      } else if (await this.#poll(Math.max(this.#timing.restreamMs, end.retryMs), signal)) {
        return;
      }
    }
  }

  async #stream(signal: AbortSignal): Promise<StreamEnd> {
    const { controller, release } = linkedController(signal);
    untilHidden(true, this.#visible, controller.signal).then(
      () => controller.abort(HIDDEN),
      () => {},
    );
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
        if (await this.#handle(event, controller.signal)) return { kind: "done" };
      }
      return this.#interrupted(0);
    } catch (error) {
      signal.throwIfAborted();
      return controller.signal.reason === HIDDEN ? { kind: "hidden" } : this.#failed(error);
    } finally {
      this.#lastEventId = parser.lastEventId;
      this.#retryMs = parser.retryMs ?? this.#retryMs;
      release();
      controller.abort();
    }
  }

  /** Whether the source is done. */
  async #handle(event: ServerEvent, signal: AbortSignal): Promise<boolean> {
    const outcome = this.#source.onEvent(event);
    if (outcome === "invalid") return (await this.#source.poll(signal, this.#timing)) === null;
    return outcome === "done";
  }

  #onFirstByte(): void {
    this.#unopenedStreams = 0;
    this.#openedAt = performance.now();
    this.#source.onOpen(this.#hasBeenOpen && this.#lastEventId === "");
    this.#hasBeenOpen = true;
    this.#setState("live");
  }

  /** The stream ended early, such as when the server restarts or the connection is cut. */
  #interrupted(retryMs: number): StreamEnd {
    const wasStable =
      this.#openedAt !== null && performance.now() - this.#openedAt > STABLE_STREAM_MS;
    this.#failures = wasStable ? 1 : this.#failures + 1;
    if (this.#openedAt === null) this.#unopenedStreams += 1;
    return { kind: "interrupted", retryMs };
  }

  /** Whether the API answers, though a number of streams in a row have sent nothing. */
  async #doesApiAnswer(signal: AbortSignal): Promise<boolean> {
    if (this.#unopenedStreams < MAX_UNOPENED_STREAMS) return false;
    try {
      await this.#source.poll(signal, this.#timing);
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.isTransient) return false;
      throw error;
    }
  }

  #failed(error: unknown): StreamEnd {
    if (error instanceof NotAnEventStream || error instanceof EventTooLarge) return UNAVAILABLE;
    if (error instanceof StreamTimeout) {
      return this.#openedAt === null ? UNAVAILABLE : this.#interrupted(0);
    }
    if (!(error instanceof ApiError)) throw error;
    const retryMs = (error.retryAfter ?? 0) * 1000;
    if (STREAM_UNAVAILABLE.has(error.status)) return { kind: "unavailable", retryMs };
    if (!error.isTransient) throw error;
    return this.#interrupted(retryMs);
  }

  /** Whether the source is done. */
  async #poll(durationMs: number, signal: AbortSignal): Promise<boolean> {
    const end = performance.now() + durationMs;
    for (let failures = 0; ;) {
      await this.#untilVisible(signal);
      this.#setState("polling");
      let waitMs: number;
      try {
        const next = await this.#source.poll(signal, this.#timing);
        if (next === null) return true;
        failures = 0;
        waitMs = next;
      } catch (error) {
        if (!(error instanceof ApiError) || !error.isTransient) throw error;
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

  async #untilVisible(signal: AbortSignal): Promise<void> {
    if (this.#visible.hidden) this.#setState("paused");
    await untilHidden(false, this.#visible, signal);
  }

  /** Waits, but not longer than the tab is visible. */
  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { controller, release } = linkedController(signal);
    try {
      await Promise.race([
        sleep(ms, controller.signal),
        untilHidden(true, this.#visible, controller.signal),
      ]);
    } finally {
      release();
      controller.abort();
    }
  }

  #setState(state: WatchState): void {
    if (state === this.#state) return;
    this.#state = state;
    callListener(() => this.#options.onState?.(state));
  }
}

/** No such route or job (polling will tell), no acceptable content, too many streams. */
const STREAM_UNAVAILABLE = new Set([404, 405, 406, 410, 501, 503]);

/** Calls a listener. If it throws, its error is reported as uncaught, and the caller continues. */
export function callListener(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
