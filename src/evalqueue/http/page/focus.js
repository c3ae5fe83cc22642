// Whoever works by keyboard stays where they were when what they were on is drawn no more.

const PLACES = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled)";
const GROUPS = "td, tr, li, .row, .row-wide, fieldset, section, .card";

/** Draw; if that takes away what has the focus, its nearest neighbour gets it. @param {() => void} draw */
export function keepingFocus(draw) {
  const focused = document.activeElement;
  const around = focused && focused !== document.body ? ancestors(focused) : [];
  draw();
  if (!focused || focused.isConnected || document.activeElement !== document.body) return;
  for (const each of around) {
    if (!each.isConnected) continue;
    const next = each.matches("[tabindex]")
      ? each
      : each.matches(GROUPS)
        ? each.querySelector(PLACES)
        : null;
    if (next instanceof HTMLElement) {
      next.focus({ preventScroll: true });
      return;
    }
  }
  document.getElementById("main")?.focus({ preventScroll: true });
}

/** From the nearest on. @param {Element} element */
function ancestors(element) {
  const found = [];
  for (let each = element.parentElement; each && each !== document.body; each = each.parentElement)
    found.push(each);
  return found;
}
