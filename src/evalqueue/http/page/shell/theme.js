// The colour scheme: the reader's choice, or else the system's.

const STORAGE_KEY = "evalqueue.theme";

/** Apply the choice that an earlier visit stored. */
export function restoreTheme() {
  try {
    const theme = localStorage.getItem(STORAGE_KEY);
    if (theme) document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be disabled.
  }
}

export function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function toggleTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(STORAGE_KEY, theme);
  } catch {
    // Storage may be disabled: then the choice lasts until the page is closed.
  }
}
