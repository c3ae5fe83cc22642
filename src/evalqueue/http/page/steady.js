// Work that is asked for more often than it can be done: one at a time, again if it was asked for
// meanwhile, and again by itself after a failure that may pass.

const AGAIN_MS = 5_000;

/**
 * @param {() => Promise<number | void>} work  may say after how many milliseconds it may be done again
 * @param {{ signal: AbortSignal, restMs: number, failed: (error: unknown) => void }} how
 * @returns {() => void} asks for it
 */
export function steady(work, { signal, restMs, failed }) {
  let isWanted = false;
  let isBusy = false;

  async function go() {
    isBusy = true;
    while (isWanted && !signal.aborted) {
      isWanted = false;
      let ms = restMs;
      try {
        ms = (await work()) ?? restMs;
      } catch (error) {
        if (signal.aborted) break;
        failed(error);
        isWanted ||= mayPass(error);
        ms = Math.max(AGAIN_MS, restMs);
      }
      await rest(ms, signal);
    }
    isBusy = false;
  }

  return () => {
    isWanted = true;
    if (!isBusy && !signal.aborted) void go();
  };
}

/** The server is away, or busy. @param {unknown} error */
export function mayPass(error) {
  return error instanceof Error && "isTransient" in error && error.isTransient === true;
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function rest(ms, signal) {
  return new Promise((done) => {
    const timer = setTimeout(end, ms);
    function end() {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      done();
    }
    signal.addEventListener("abort", end);
  });
}
