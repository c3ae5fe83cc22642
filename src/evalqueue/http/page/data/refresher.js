// Coalesced loading: requests made during a load lead to one more load, never to parallel ones.

import { isTransient } from "./errors.js";

const RETRY_MS = 5_000;

/**
 * Returns a function that requests a load. Loads run one at a time and at least `minIntervalMs`
 * apart. A load that fails with a transient error is repeated without a further request.
 * @param {() => Promise<number | void>} load may return milliseconds to wait before the next load
 * @param {object} options
 * @param {AbortSignal} options.signal
 * @param {number} options.minIntervalMs
 * @param {(error: unknown) => void} options.onError
 * @returns {() => void}
 */
export function refresher(load, { signal, minIntervalMs, onError }) {
  let isRequested = false;
  let isRunning = false;

  async function run() {
    isRunning = true;
    while (isRequested && !signal.aborted) {
      isRequested = false;
      let ms = minIntervalMs;
      try {
        ms = (await load()) ?? minIntervalMs;
      } catch (error) {
        if (signal.aborted) break;
        onError(error);
        isRequested ||= isTransient(error);
        ms = Math.max(RETRY_MS, minIntervalMs);
      }
      await sleep(ms, signal);
    }
    isRunning = false;
  }

  return () => {
    isRequested = true;
    if (!isRunning && !signal.aborted) void run();
  };
}

/**
 * Resolves after the given time, or as soon as the signal is aborted.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(finish, ms);
    function finish() {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      resolve();
    }
    signal.addEventListener("abort", finish);
  });
}
