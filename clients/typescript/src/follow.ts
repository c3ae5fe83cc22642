// Following something on the server: streamed where that works, else polled, paused while nobody looks.
import { ApiError } from "./errors.js";
import type { Line } from "./line.js";
import { EventParser, type ServerEvent, TooLarge } from "./sse.js";
import { events, NotAStream, Silent } from "./stream.js";
import { until, type Visible, visibility } from "./visibility.js";
import { backoff, follower, sleep } from "./waiting.js";

/** How one hears of changes at the moment. */
export type WatchState = "live" | "reconnecting" | "polling" | "paused";

/** Milliseconds. */
export interface Timing {
  /** A stream that says nothing for so long, heartbeats included, is given up. */
  silentMs: number;
  /** A stream that has said nothing at all by then is held back by something on the way. */
  openingMs: number;
  /** Waited after a first failure; doubled with each further one. */
  retryMs: number;
  /** The most that is waited after a failure. */
  maxRetryMs: number;
  /** How long is polled before streaming is tried again. */
  restreamMs: number;
  /** The least between two polls. */
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
  /** Told whenever it changes. */
  onState?: ((state: WatchState) => void) | undefined;
  /** Another way to stop. */
  signal?: AbortSignal | undefined;
  /** Whether anybody is looking; default: the page's document. */
  visibility?: Visible | undefined;
  /** What is not given stays as it is in `TIMING`. */
  timing?: Partial<Timing> | undefined;
}

/** What is followed. */
export interface Source {
  readonly path: string;
  /** Take an event. "unclear": something was told, but not what. */
  take(event: ServerEvent): "more" | "over" | "unclear";
  /** A stream was opened; the first one, or one that goes on after an event, has missed nothing. */
  opened(hasMissed: boolean): void;
  /** Ask how things are. Null: it is over; else milliseconds after which to ask again. */
  poll(signal: AbortSignal, timing: Timing): Promise<number | null>;
}

type End = { kind: "over" } | { kind: "hidden" } | { kind: "cut" | "impossible"; retryMs: number };

const IMPOSSIBLE: End = { kind: "impossible", retryMs: 0 };

/** Streams in a row that ended before a byte came, after which streaming is held to be impossible. */
const VAIN_STREAMS = 3;

/** A stream that went on for so long was a good one, whatever ended it. */
const STEADY_MS = 5_000;

const HIDDEN = Symbol("the tab is hidden");

export class Follow {
  readonly #line: Line;
  readonly #source: Source;
  readonly #options: WatchOptions;
  readonly #visible: Visible;
  readonly #timing: Timing;
  #lastEventId = "";
  #retryMs: number;
  #state: WatchState | null = null;
  #failures = 0;
  #vain = 0;
  #wasOpen = false;
  #heardAt: number | null = null;

  constructor(line: Line, source: Source, options: WatchOptions) {
    this.#line = line;
    this.#source = source;
    this.#options = options;
    this.#visible = options.visibility ?? visibility();
    this.#timing = { ...TIMING, ...options.timing };
    this.#retryMs = this.#timing.retryMs;
  }

  /** Until it is over. Rejects with what can't be waited out, or with the signal's reason. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#shown(signal);
      const end = await this.#stream(signal);
      if (end.kind === "over") return;
      if (end.kind === "hidden") continue;
      if (end.kind === "cut") {
        this.#tell("reconnecting");
        const ms = backoff(this.#failures, this.#retryMs, this.#timing.maxRetryMs);
        await this.#pause(Math.max(ms, end.retryMs), signal);
      } else if (await this.#poll(Math.max(this.#timing.restreamMs, end.retryMs), signal)) {
        return;
      }
    }
  }

  async #stream(signal: AbortSignal): Promise<End> {
    const { controller, release } = follower(signal);
    until(true, this.#visible, controller.signal).then(
      () => controller.abort(HIDDEN),
      () => {},
    );
    const parser = new EventParser(this.#lastEventId);
    this.#heardAt = null;
    try {
      const stream = events(this.#line, this.#source.path, {
        parser,
        signal: controller.signal,
        openingMs: this.#timing.openingMs,
        silentMs: this.#timing.silentMs,
        onHeard: () => this.#heard(),
      });
      for await (const event of stream) {
        controller.signal.throwIfAborted(); // by what the last event led to
        if (await this.#take(event, controller.signal)) return { kind: "over" };
      }
      this.#vain += 1;
      return this.#heardAt === null && this.#vain > VAIN_STREAMS ? IMPOSSIBLE : this.#ended(0);
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

  /** Whether it is over. */
  async #take(event: ServerEvent, signal: AbortSignal): Promise<boolean> {
    const told = this.#source.take(event);
    if (told === "unclear") return (await this.#source.poll(signal, this.#timing)) === null;
    return told === "over";
  }

  #heard(): void {
    this.#vain = 0;
    this.#heardAt = performance.now();
    this.#source.opened(this.#wasOpen && this.#lastEventId === "");
    this.#wasOpen = true;
    this.#tell("live");
  }

  /** The stream ended, and that was not all: the server restarts, say, or the line was cut. */
  #ended(retryMs: number): End {
    const wasSteady = this.#heardAt !== null && performance.now() - this.#heardAt > STEADY_MS;
    this.#failures = wasSteady ? 1 : this.#failures + 1;
    return { kind: "cut", retryMs };
  }

  #failed(error: unknown): End {
    if (error instanceof NotAStream || error instanceof TooLarge) return IMPOSSIBLE;
    if (error instanceof Silent) return this.#heardAt === null ? IMPOSSIBLE : this.#ended(0);
    if (!(error instanceof ApiError)) throw error;
    const retryMs = (error.retryAfter ?? 0) * 1000;
    if (NO_STREAM_HERE.has(error.status)) return { kind: "impossible", retryMs };
    if (!error.isTransient) throw error;
    return this.#ended(retryMs);
  }

  /** Whether it is over. */
  async #poll(forMs: number, signal: AbortSignal): Promise<boolean> {
    const end = performance.now() + forMs;
    for (let failures = 0; ;) {
      await this.#shown(signal);
      this.#tell("polling");
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
        await this.#pause(waitMs, signal);
        return false;
      }
      await this.#pause(waitMs, signal);
    }
  }

  async #shown(signal: AbortSignal): Promise<void> {
    if (this.#visible.hidden) this.#tell("paused");
    await until(false, this.#visible, signal);
  }

  /** Wait so long, or until nobody looks any more. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const { controller, release } = follower(signal);
    try {
      await Promise.race([
        sleep(ms, controller.signal),
        until(true, this.#visible, controller.signal),
      ]);
    } finally {
      release();
      controller.abort();
    }
  }

  #tell(state: WatchState): void {
    if (state === this.#state) return;
    this.#state = state;
    calling(() => this.#options.onState?.(state));
  }
}

/** No such route (or job: polling will see), nothing acceptable, no room for another stream. */
const NO_STREAM_HERE = new Set([404, 405, 406, 410, 501, 503]);

/** A callback that throws is its owner's bug, and is reported as a listener's would be. */
export function calling(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
