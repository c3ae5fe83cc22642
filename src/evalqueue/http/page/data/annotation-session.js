// What one person does with an annotation queue: the item that is leased to them, what they have
// chosen, and the items that they have labelled before.

import { errorText } from "./errors.js";
import { OtherTabs } from "./other-tabs.js";

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
 * @property {string} refusal why it can't be saved; "" if it can
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
    /** @type {Entry | null} what was not saved when an earlier one was corrected */
    this.draft = null;
    this.otherTabs = new OtherTabs(`annotation-${queue.id}-${annotator}`);
    this.otherTabs.enter();
    const noteActivity = () => (this.wasActive = true);
    for (const each of ACTIVITIES) {
      document.addEventListener(each, noteActivity, { signal, passive: true });
    }
    window.addEventListener("pagehide", () => this.leave(), { signal });
    window.addEventListener("pageshow", (event) => event.persisted && this.comeBack(), { signal });
    const timer = setInterval(() => void this.tick(), PROGRESS_MS);
    signal.addEventListener("abort", () => {
      clearInterval(timer);
      this.leave();
    });
  }

  /** Go on to the next item; the one that is leased already comes again. */
  async next() {
    this.isLoading = true;
    if (this.current?.result) this.before.push(this.current);
    await this.app.attempt(async () => {
      await this.lease();
      const item = this.leased;
      const { draft } = this;
      this.draft = null;
      const isSame = draft && draft.item.position === item?.position;
      this.current = item && {
        item,
        value: isSame ? draft.value : "",
        note: isSame ? draft.note : "",
        result: null,
        refusal: "",
      };
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
      current.refusal = "";
    } catch (error) {
      if (isTaken(error)) {
        current.refusal = errorText(error);
        if (this.leased?.position === position) this.leased = null;
      } else {
        await this.app.attempt(() => Promise.reject(error), this.signal);
      }
    }
    this.isLoading = false;
    this.app.render();
  }

  /** Correct the label that was saved last. */
  back() {
    if (this.isLoading) return;
    const entry = this.current?.result ? this.current : this.before.pop();
    if (!entry) return;
    if (this.current && !this.current.result && this.current.item === this.leased) {
      this.draft = this.current;
    }
    entry.result = null;
    entry.refusal = "";
    this.current = entry;
    this.app.render();
  }

  get canGoBack() {
    return Boolean(this.current?.result || this.before.length);
  }

  /** Give the item back, unless it is open in another tab, too. */
  leave() {
    if (this.otherTabs.open.size) this.leased = null;
    else this.release();
    this.otherTabs.leave();
  }

  comeBack() {
    this.otherTabs.enter();
    void this.next();
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
    const { current } = this;
    if (this.leased?.position === leased?.position) {
      if (current?.item === leased && this.leased) current.item = this.leased;
    } else if (current && current.item === leased) {
      current.refusal = "Others have labelled this conversation meanwhile";
    }
  }
}

/** @param {unknown} error */
function isTaken(error) {
  return error instanceof Error && "status" in error && error.status === 409;
}
