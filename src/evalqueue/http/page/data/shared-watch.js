// A watch of all jobs that the visible tabs of a browser share: one of them has the event stream.
// A browser opens six connections to a server, and a stream needs one for as long as it lasts.

import { linkedController } from "../client/timers.js";
import { untilHidden, visibility } from "../client/visibility.js";
import { ROOT } from "../shell/root.js";

/**
 * @typedef {import("../client/index.js").Client} Client
 * @typedef {import("../client/index.js").Watch<void>} Watch
 * @typedef {import("../client/index.js").WatchState} WatchState
 *
 * @typedef {object} Listeners
 * @property {(job: import("../client/index.js").JobEvent) => void} job
 * @property {(queue: import("../client/index.js").QueueEvent) => void} queue
 * @property {() => void} resync changes may have been missed
 * @property {(state: WatchState) => void} state
 *
 * @typedef {{ [Name in keyof Listeners]: [Name, ...Parameters<Listeners[Name]>] }[keyof Listeners]
 *   | ["state?"]} Message between tabs
 */

/**
 * @param {Client} api
 * @param {string} user tabs of different users share nothing
 * @param {Listeners} listeners
 * @returns {Watch}
 */
export function watchShared(api, user, listeners) {
  // Pages from plain HTTP on another host have no locks.
  if (!navigator.locks) return watchAlone(api, listeners);
  const controller = new AbortController();
  const stop = () => controller.abort(new DOMException("The watch was stopped", "AbortError"));
  return { stop, done: new SharedWatch(api, user, listeners).run(controller.signal) };
}

/** @param {Client} api @param {Listeners} listeners */
function watchAlone(api, { job, queue, resync, state }) {
  return api.watchAll(job, resync, { onQueue: queue, onState: state });
}

class SharedWatch {
  /** @param {Client} api @param {string} user @param {Listeners} listeners */
  constructor(api, user, listeners) {
    this.api = api;
    this.name = `evalqueue-jobs ${ROOT} ${user}`;
    this.listeners = listeners;
    /** Whether changes may have been missed: the tab was hidden. */
    this.hasGap = false;
    /** Whether the changes came from another tab's stream, which may end. */
    this.isFollowing = false;
    /** @type {WatchState | null} of this tab's own stream; null: it has none */
    this.state = null;
  }

  /**
   * Ends with an error only.
   * @param {AbortSignal} signal
   */
  async run(signal) {
    const channel = new BroadcastChannel(this.name);
    channel.onmessage = ({ data }) => this.onMessage(channel, data);
    try {
      for (;;) {
        if (document.hidden) this.listeners.state("paused");
        await untilHidden(false, visibility(), signal);
        await this.watch(channel, signal);
        this.hasGap = true;
      }
    } finally {
      channel.close();
    }
  }

  /**
   * Until the tab is hidden, take the changes of another tab's stream, or have the stream as soon as
   * no other tab has it.
   * @param {BroadcastChannel} channel
   * @param {AbortSignal} signal
   */
  async watch(channel, signal) {
    const { controller, release } = linkedController(signal);
    untilHidden(true, visibility(), controller.signal).then(
      () => controller.abort(),
      () => {},
    );
    post(channel, ["state?"]);
    const stream = () => this.stream(channel, controller.signal);
    try {
      await navigator.locks.request(this.name, { signal: controller.signal }, stream);
    } catch (error) {
      signal.throwIfAborted();
      if (!controller.signal.aborted) throw error;
    } finally {
      release();
      controller.abort();
      this.state = null;
    }
  }

  /**
   * The stream, whose changes the other tabs get, too.
   * @param {BroadcastChannel} channel
   * @param {AbortSignal} signal
   */
  async stream(channel, signal) {
    let isOpened = false;
    /** @param {Message} message */
    const publish = (message) => {
      this.deliver(message);
      post(channel, message);
    };
    const watch = watchAlone(this.api, {
      job: (job) => publish(["job", job]),
      queue: (queue) => publish(["queue", queue]),
      resync: () => publish(["resync"]),
      state: (state) => {
        this.state = state;
        publish(["state", state]);
        if (isOpened || (state !== "live" && state !== "polling")) return;
        isOpened = true;
        post(channel, ["resync"]); // since the stream of the tab before has ended
        if (this.hasGap || this.isFollowing) this.listeners.resync();
        this.hasGap = this.isFollowing = false;
      },
    });
    signal.addEventListener("abort", () => watch.stop());
    await watch.done;
  }

  /** @param {BroadcastChannel} channel @param {Message} message of another tab */
  onMessage(channel, message) {
    if (document.hidden) return;
    if (message[0] === "state?") {
      if (this.state) post(channel, ["state", this.state]);
      return;
    }
    if (this.hasGap) this.listeners.resync();
    this.hasGap = false;
    this.isFollowing = true;
    this.deliver(message);
  }

  /** @param {Message} message */
  deliver(message) {
    switch (message[0]) {
      case "job":
        return this.listeners.job(message[1]);
      case "queue":
        return this.listeners.queue(message[1]);
      case "resync":
        return this.listeners.resync();
      case "state":
        return this.listeners.state(message[1]);
    }
  }
}

/** @param {BroadcastChannel} channel @param {Message} message */
function post(channel, message) {
  channel.postMessage(message);
}
