// Long tables: only the rows that can be seen are in the document.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { ref } from "./vendor/lit-html/directives/ref.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import { styles } from "./styles.js";
import { Virtualizer, elementScroll, observeElementOffset, observeElementRect } from "./virtual-core.js";

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
    /** @type {Virtualizer<HTMLElement, Element>} */
    this.virtualizer = new Virtualizer(this.options());
    const left = this.virtualizer._didMount();
    signal.addEventListener("abort", left);
  }

  options() {
    return {
      count: this.count,
      getScrollElement: () => this.element,
      estimateSize: () => ROW_PX * (parseFloat(getComputedStyle(document.documentElement).fontSize) / 16),
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
    const above = shown[0]?.start ?? 0;
    const below = this.virtualizer.getTotalSize() - (shown.at(-1)?.end ?? 0);
    const visible = shown.map(({ index }) => ({ index, item: /** @type {T} */ (items[index]) })).filter(({ item }) => item !== undefined);
    return html`
      <div class="virtual" tabindex="0" role="region" aria-label=${label} ${ref((element) => this.attach(element))}>
        <table class="table" aria-rowcount=${items.length + 1}>
          <caption class="visually-hidden">${label}</caption>
          <thead>${head}</thead>
          <tbody>${space(above, columns)}${repeat(visible, ({ item }) => key(item), ({ item, index }) => row(item, index))}${space(below, columns)}</tbody>
        </table>
      </div>`;
  }

  /** @param {Element | undefined} element */
  attach(element) {
    const found = element instanceof HTMLElement ? element : null;
    if (found === this.element) return;
    this.element = found;
    this.virtualizer._willUpdate();
    if (found) this.changed();
  }
}

/** What is scrolled past, as one row. @param {number} height @param {number} columns */
function space(height, columns) {
  return height > 0 ? html`<tr class="spacer" aria-hidden="true"><td colspan=${columns} style=${styles({ height: `${height}px` })}></td></tr>` : nothing;
}
