// What one person does with an annotation queue: the item that is leased to them, what they have
// chosen, and the items that they have labelled before.

const EXTEND_MS = 120_000; // of ten minutes
const PROGRESS_MS = 5_000;
const ACTIVITIES = ["keydown", "pointerdown", "wheel", "touchmove"];

/**
 * @typedef {import("../client/index.js").OfferedItem} OfferedItem
 * @typedef {import("../client/index.js").LabelledAnnotation} LabelledAnnotation
 * @typedef {object} Entry an item, and what this person says about it
 * @property {OfferedItem} item
 * @property {string} value "" until one is chosen
 * @property {string} note
 * @property {LabelledAnnotation | null} result what judge and others say, once it is labelled
 */

export class AnnotationSession {
  /**
   * @param {object} options
   * @param {import("../app.js").App} options.app
   * @param {import("../client/index.js").AnnotationQueue} options.queue
   * @param {string} options.annotator
   * @param {boolean} options.adjudicates
   * @param {AbortSignal} options.signal
   */
  constructor({ app, queue, annotator, adjudicates, signal }) {
    this.app = app;
    this.queueId = queue.id;
    this.progress = queue.progress;
    this.person = { labelled_by: annotator, adjudicates };
    this.signal = signal;
    /** @type {Entry | null} null: there is no item for this person now */
    this.current = null;
    /** @type {Entry[]} labelled before, the last one last */
    this.before = [];
    this.isLoading = true;
    /** @type {OfferedItem | null} not labelled yet */
    this.leased = null;
    this.leasedAt = 0;
    this.wasActive = false;
    const noteActivity = () => (this.wasActive = true);
    for (const each of ACTIVITIES) {
      document.addEventListener(each, noteActivity, { signal, passive: true });
    }
    window.addEventListener("pagehide", () => this.release(), { signal });
    window.addEventListener("pageshow", (event) => event.persisted && void this.next(), { signal });
    const timer = setInterval(() => void this.tick(), PROGRESS_MS);
    signal.addEventListener("abort", () => {
      clearInterval(timer);
      this.release();
    });
  }

  /** Go on to the next item; the one that is leased already comes again. */
  async next() {
    this.isLoading = true;
    if (this.current?.result) this.before.push(this.current);
    await this.app.attempt(async () => {
      await this.lease();
      const item = this.leased;
      this.current = item && { item, value: "", note: "", result: null };
    }, this.signal);
    this.isLoading = false;
    this.app.render();
  }

  async lease() {
    const { item, progress } = await this.app.api.annotation.next(this.queueId, this.person);
    this.progress = progress;
    this.leased = item;
    this.leasedAt = Date.now();
    if (this.signal.aborted) this.release();
  }

  /** Store what is chosen, and show what judge and others say. */
  async save() {
    const { current } = this;
    if (!current?.value || this.isLoading) return;
    this.isLoading = true;
    const { position } = current.item;
    try {
      current.result = await this.app.api.annotation.label(this.queueId, position, {
        ...this.person,
        value: current.value,
        note: current.note.trim() || null,
      });
      this.progress = current.result.progress;
      if (this.leased?.position === position) this.leased = null;
    } catch (error) {
      this.isLoading = false;
      await this.app.attempt(() => Promise.reject(error), this.signal);
      if (isTaken(error)) await this.next();
    }
    this.isLoading = false;
    this.app.render();
  }

  /** Correct the label that was saved last. */
  back() {
    if (this.isLoading) return;
    const entry = this.current?.result ? this.current : this.before.pop();
    if (!entry) return;
    entry.result = null;
    this.current = entry;
    this.app.render();
  }

  get canGoBack() {
    return Boolean(this.current?.result || this.before.length);
  }

  /** Give the item back: the request goes on after the page is closed. */
  release() {
    const { leased } = this;
    this.leased = null;
    if (leased) {
      const { labelled_by } = this.person;
      // Without an answer the lease ends by itself.
      this.app.api.annotation.release(this.queueId, leased, { labelled_by }).catch(() => {});
    }
  }

  /** Read the progress, and extend the lease of a person who does something. */
  async tick() {
    if (document.hidden || this.isLoading) return;
    try {
      if (this.leased && this.wasActive && Date.now() - this.leasedAt > EXTEND_MS) {
        this.wasActive = false;
        await this.extend();
      } else {
        this.progress = (await this.app.api.annotation.get(this.queueId)).progress;
      }
      this.app.refresh();
    } catch (error) {
      this.app.reportError(error);
    }
  }

  async extend() {
    const { leased } = this;
    await this.lease();
    if (this.leased?.position === leased?.position || this.current?.item !== leased) return;
    this.app.toast("Others have labelled that conversation meanwhile");
    const item = this.leased;
    this.current = item && { item, value: "", note: "", result: null };
  }
}

/** @param {unknown} error */
function isTaken(error) {
  return error instanceof Error && "status" in error && error.status === 409;
}
