// Keyboard focus across renders: when the focused element is removed, a nearby one gets the focus.

const FOCUSABLE = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled)";
const GROUPS = "td, tr, li, .row, .row-wide, fieldset, section, .card";

/**
 * Render, and move the focus to the nearest remaining element if the focused one was removed.
 * @param {() => void} render
 */
export function keepFocus(render) {
  const focused = document.activeElement;
  const ancestors = focused && focused !== document.body ? ancestorsOf(focused) : [];
  render();
  if (!focused || focused.isConnected || document.activeElement !== document.body) return;
  for (const ancestor of ancestors) {
    if (!ancestor.isConnected) continue;
    const next = focusTarget(ancestor);
    if (next instanceof HTMLElement) {
      next.focus({ preventScroll: true });
      return;
    }
  }
  document.getElementById("main")?.focus({ preventScroll: true });
}

/** @param {Element} element */
function focusTarget(element) {
  if (element.matches("[tabindex]")) return element;
  return element.matches(GROUPS) ? element.querySelector(FOCUSABLE) : null;
}

/** From the parent up. @param {Element} element */
function ancestorsOf(element) {
  const ancestors = [];
  let each = element.parentElement;
  while (each && each !== document.body) {
    ancestors.push(each);
    each = each.parentElement;
  }
  return ancestors;
}
