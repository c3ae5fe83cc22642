// Long tables: only the rows that can be seen are in the document.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { ref } from "./vendor/lit-html/directives/ref.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import { styles } from "./styles.js";
import {
  Virtualizer,
  elementScroll,
  observeElementOffset,
  observeElementRect,
} from "./virtual-core.js";

const ROW_PX = 44; // 2.75rem, as the style sheet has it
const SPARE_ROWS = 12;

/** A table whose rows are all equally high. */
export class Rows {
  /** @param {() => void} changed  other rows are to be shown @param {AbortSignal} signal */
  constructor(changed, signal) {
    this.changed = changed;
    this.count = 0;
    /** @type {HTMLElement | null} */
    this.element = null;
    /**
     * One function for good: another would be told of the element anew, and that draws again.
     * @param {Element | undefined} element
     */
    this.attach = (element) => {
      const found = element instanceof HTMLElement ? element : null;
      if (found === this.element) return;
      this.element = found;
      this.virtualizer._willUpdate();
      if (found) this.changed();
    };
    /** @type {number | null} the row that is to have the focus once it is drawn */
    this.wanted = null;
    /** @type {Virtualizer<HTMLElement, Element>} */
    this.virtualizer = new Virtualizer(this.options());
    const left = this.virtualizer._didMount();
    signal.addEventListener("abort", left);
  }

  options() {
    return {
      count: this.count,
      getScrollElement: () => this.element,
      estimateSize: rowHeight,
      overscan: SPARE_ROWS,
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      onChange: () => this.changed(),
    };
  }

  /**
   * @template T
   * @param {{ label: string, items: T[], key: (item: T) => unknown, head: unknown, row: (item: T, index: number) => unknown, columns: number }} what
   *   `row` makes a `tr`, with `aria-rowindex` of its index + 2
   */
  render({ label, items, key, head, row, columns }) {
    if (this.count !== items.length) {
      this.count = items.length;
      this.virtualizer.setOptions(this.options());
    }
    this.virtualizer._willUpdate();
    const shown = this.virtualizer.getVirtualItems();
    const wanted = shown.find(({ index }) => index === this.wanted);
    if (wanted) {
      this.wanted = null;
      queueMicrotask(() => this.focus(wanted.index)); // when this has been drawn
    }
    const above = shown[0]?.start ?? 0;
    const below = this.virtualizer.getTotalSize() - (shown.at(-1)?.end ?? 0);
    const visible = shown
      .map(({ index }) => ({ index, item: /** @type {T} */ (items[index]) }))
      .filter(({ item }) => item !== undefined);
    return html`<div
      class="virtual"
      tabindex="0"
      role="region"
      aria-label=${label}
      ${ref(this.attach)}
    >
      <table class="table" aria-rowcount=${items.length + 1}>
        <caption class="visually-hidden">
          ${label}
        </caption>
        <thead>
          ${head}
        </thead>
        <tbody>
          ${space(above, columns)}${repeat(
            visible,
            ({ item }) => key(item),
            ({ item, index }) => row(item, index),
          )}${space(below, columns)}
        </tbody>
      </table>
    </div>`;
  }

  /** Show a row in the middle, and give it the focus if nothing else has taken it. @param {number} index  -1: none */
  bring(index) {
    if (index < 0) return;
    this.wanted = index;
    requestAnimationFrame(() => {
      // the table is there
      if (this.element)
        this.element.scrollTop = (index + 0.5) * rowHeight() - this.element.clientHeight / 2;
    });
  }

  /** @param {number} index */
  focus(index) {
    const link = this.element?.querySelector(`tr[aria-rowindex="${index + 2}"] a`);
    const isFree =
      document.activeElement === document.body || document.activeElement?.id === "main";
    if (isFree && link instanceof HTMLElement) link.focus();
  }
}

/** In pixels, at the size of letters that the reader has chosen. */
function rowHeight() {
  return ROW_PX * (parseFloat(getComputedStyle(document.documentElement).fontSize) / 16);
}

/** What is scrolled past, as one row. @param {number} height @param {number} columns */
function space(height, columns) {
  return height > 0
    ? html`<tr class="spacer" aria-hidden="true">
        <td colspan=${columns} style=${styles({ height: `${height}px` })}></td>
      </tr>`
    : nothing;
}
