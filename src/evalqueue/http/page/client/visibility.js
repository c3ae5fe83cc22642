// Whether the tab is visible: a hidden one needs no updates, and reads again when it is shown.
const ALWAYS = {
    hidden: false,
    addEventListener() { },
    removeEventListener() { },
};
/** The page's document; always visible where there is none. */
export function visibility() {
    return typeof document === "undefined" ? ALWAYS : document;
}
/** Resolves once `visible.hidden` has the given value; rejects with the signal's reason. */
export function untilHidden(hidden, visible, signal) {
    return new Promise((resolve, reject) => {
        if (signal.aborted)
            return reject(signal.reason);
        if (visible.hidden === hidden)
            return resolve();
        const end = (settle) => {
            visible.removeEventListener("visibilitychange", changed);
            signal.removeEventListener("abort", aborted);
            settle();
        };
        const changed = () => {
            if (visible.hidden === hidden)
                end(resolve);
        };
        const aborted = () => end(() => reject(signal.reason));
        visible.addEventListener("visibilitychange", changed);
        signal.addEventListener("abort", aborted, { once: true });
    });
}
