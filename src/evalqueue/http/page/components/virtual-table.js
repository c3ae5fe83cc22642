// A table of any length, of which only the visible rows are in the document.

import { styles } from "../lib/styles.js";
import {
  Virtualizer,
  elementScroll,
  observeElementOffset,
  observeElementRect,
} from "../lib/virtual-core.js";
import { ref } from "../vendor/lit-html/directives/ref.js";
import { repeat } from "../vendor/lit-html/directives/repeat.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";

const ROW_PX = 44; // 2.75rem, as in app.css
const OVERSCAN_ROWS = 12;

/** All rows have the same height. */
export class VirtualTable {
  /** @param {() => void} onChange other rows are visible now @param {AbortSignal} signal */
  constructor(onChange, signal) {
    this.onChange = onChange;
    this.count = 0;
    /** @type {HTMLElement | null} */
    this.element = null;
    /**
     * The same function at every render: lit would call a new one again, which would render again.
     * @param {Element | undefined} element
     */
    this.attach = (element) => {
      const attached = element instanceof HTMLElement ? element : null;
      if (attached === this.element) return;
      this.element = attached;
      this.virtualizer._willUpdate();
      if (attached) this.onChange();
    };
    /** @type {number | null} the row to focus once it is rendered */
    this.rowToFocus = null;
    /** @type {Virtualizer<HTMLElement, Element>} */
    this.virtualizer = new Virtualizer(this.options());
    const unmount = this.virtualizer._didMount();
    signal.addEventListener("abort", unmount);
  }

  options() {
    return {
      count: this.count,
      getScrollElement: () => this.element,
      estimateSize: rowHeight,
      overscan: OVERSCAN_ROWS,
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      onChange: () => this.onChange(),
    };
  }

  /**
   * @template T
   * @param {object} options
   * @param {string} options.label for screen readers
   * @param {T[]} options.items
   * @param {(item: T) => unknown} options.key
   * @param {unknown} options.head a `tr`
   * @param {(item: T, index: number) => unknown} options.row
   *   returns a `tr`, with `aria-rowindex` of its index + 2
   * @param {number} options.columns
   */
  render({ label, items, key, head, row, columns }) {
    if (this.count !== items.length) {
      this.count = items.length;
      this.virtualizer.setOptions(this.options());
    }
    this.virtualizer._willUpdate();
    const virtualRows = this.virtualizer.getVirtualItems();
    const focusable = virtualRows.find(({ index }) => index === this.rowToFocus);
    if (focusable) {
      this.rowToFocus = null;
      queueMicrotask(() => this.focus(focusable.index)); // after this render
    }
    const above = virtualRows[0]?.start ?? 0;
    const below = this.virtualizer.getTotalSize() - (virtualRows.at(-1)?.end ?? 0);
    const visible = virtualRows
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

  /**
   * Scroll a row to the middle, and focus it unless something else has the focus.
   * @param {number} index -1: no row
   */
  scrollTo(index) {
    if (index < 0) return;
    this.rowToFocus = index;
    requestAnimationFrame(() => {
      // the table is rendered by then
      if (this.element) {
        this.element.scrollTop = (index + 0.5) * rowHeight() - this.element.clientHeight / 2;
      }
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

/** In pixels, at the reader's font size. */
function rowHeight() {
  return ROW_PX * (parseFloat(getComputedStyle(document.documentElement).fontSize) / 16);
}

/**
 * One row in place of those that are not visible.
 * @param {number} height
 * @param {number} columns
 */
function space(height, columns) {
  return height > 0
    ? html`<tr class="spacer" aria-hidden="true">
        <td colspan=${columns} style=${styles({ height: `${height}px` })}></td>
      </tr>`
    : nothing;
}
