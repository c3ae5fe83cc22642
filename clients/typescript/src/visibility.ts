// Whether the tab is visible: a hidden one needs no updates, and reads again when it is shown.

/** The part of `document` that is used. */
export interface Visible {
  readonly hidden: boolean;
  addEventListener(type: "visibilitychange", listener: () => void): void;
  removeEventListener(type: "visibilitychange", listener: () => void): void;
}

const ALWAYS: Visible = {
  hidden: false,
  addEventListener() {},
  removeEventListener() {},
};

/** The page's document; always visible where there is none. */
export function visibility(): Visible {
  return typeof document === "undefined" ? ALWAYS : document;
}

/** Resolves once `visible.hidden` has the given value; rejects with the signal's reason. */
export function untilHidden(hidden: boolean, visible: Visible, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    if (visible.hidden === hidden) return resolve();
    const end = (settle: () => void) => {
      visible.removeEventListener("visibilitychange", changed);
      signal.removeEventListener("abort", aborted);
      settle();
    };
    const changed = () => {
      if (visible.hidden === hidden) end(resolve);
    };
    const aborted = () => end(() => reject(signal.reason));
    visible.addEventListener("visibilitychange", changed);
    signal.addEventListener("abort", aborted, { once: true });
  });
}
