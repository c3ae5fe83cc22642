// What was typed into a form, kept until it is sent: for this tab, also across a reload.

const PREFIX = "evalqueue-draft-";

/** @param {string} name of the form @param {unknown} value JSON */
export function keepDraft(name, value) {
  try {
    sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Without storage (full, or forbidden by the browser) a reload loses the draft.
  }
}

/** The draft of a form; null if there is none. @param {string} name @returns {any} */
export function draftOf(name) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name) ?? "null");
  } catch {
    return null;
  }
}

/** @param {string} name */
export function forgetDraft(name) {
  try {
    sessionStorage.removeItem(PREFIX + name);
  } catch {
    // there is none then
  }
}

/** Forget the drafts of all forms: another user may sign in. */
export function forgetDrafts() {
  try {
    for (const key of Object.keys(sessionStorage)) {
      if (key.startsWith(PREFIX)) sessionStorage.removeItem(key);
    }
  } catch {
    // there are none then
  }
}
