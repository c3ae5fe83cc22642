// Timers that can be aborted, and the delay before a retry.

/** Resolves after the given time; rejects with the signal's reason. Leaves no timer behind. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * Milliseconds to wait after the n-th failure in a row: exponential, bounded, and with jitter, so
 * that clients that failed together do not retry together.
 */
export function backoff(failures: number, firstMs: number, maxMs: number): number {
  const ms = Math.min(maxMs, firstMs * 2 ** Math.min(Math.max(0, failures - 1), 30));
  return ms * (0.5 + Math.random() / 2);
}

/** A controller that is aborted with a signal. Call `release` when it is no longer needed. */
export function linkedController(signal?: AbortSignal): {
  controller: AbortController;
  release: () => void;
} {
  const controller = new AbortController();
  const abort = () => controller.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort, { once: true });
  return {
    controller,
    release: () => signal?.removeEventListener("abort", abort),
  };
}
