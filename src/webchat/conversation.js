// The conversation on show: draws a timeline into the page and keeps the reader's place in it.

import { announce, byId } from "./dom.js";
import { dayOf } from "./format.js";
import { ANNOUNCE_MAX, FOLLOW_PX } from "./limits.js";
import { DayView, PromptView, RecordView, SurfaceView } from "./message_view.js";
import { RunView } from "./run_view.js";

export class Conversation {
  #actions;
  #timeline;
  #views = new Map();
  #frame = 0;
  #following = true;
  #scroller = byId("scroller");
  #items = byId("items");
  #latest = byId("latest");
  #loadingOlder = false;

  /**
   * @param {object} actions
   * @param {(text: string) => void} actions.reuse puts a text into the composer
   * @param {{retry: (key: string) => void, discard: (key: string) => void}} actions.outbox
   * @param {(key: string) => string[]} actions.previews URLs of a prompt's pictures
   * @param {() => Promise<void>} actions.loadOlder gets the page before the oldest one
   */
  constructor(actions) {
    this.#actions = actions;
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#latest.onclick = () => this.follow();
    byId("earlier").onclick = () => this.#loadOlder();
    // A growing composer or keyboard must not hide the end.
    new ResizeObserver(() => this.#following && this.#toEnd()).observe(this.#scroller);
  }

  /** Shows another session's conversation. */
  show(timeline) {
    this.#timeline = timeline;
    this.#views.clear();
    this.#items.replaceChildren();
    this.#following = true;
    this.draw();
  }

  /** Draws what has changed, with the next frame of the screen. */
  changed() {
    // A hidden page has no frames; its conversation must be right all the same.
    if (document.hidden) this.draw();
    else this.#frame ||= requestAnimationFrame(() => this.draw());
  }

  /** Goes to the end and stays there. */
  follow() {
    this.#following = true;
    this.#toEnd();
    this.#scrolled();
  }

  /** Draws what has changed, now. */
  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const items = withDays(this.#timeline.items());
    const wanted = new Set(items.map(({ key }) => key));
    for (const [key, view] of this.#views) {
      if (wanted.has(key)) continue;
      view.element.remove();
      this.#views.delete(key);
    }
    let next = this.#items.firstElementChild;
    for (const item of items) {
      let view = this.#views.get(item.key);
      if (!view) {
        view = this.#make(item);
        this.#views.set(item.key, view);
      }
      view.update(item.value);
      if (view.element === next) next = next.nextElementSibling;
      else this.#items.insertBefore(view.element, next);
    }
    byId("earlier").hidden = !this.#timeline.before;
    byId("welcome").hidden = !this.#timeline.loaded || items.length > 0;
    if (this.#following) this.#toEnd();
    else this.#scrolled();
  }

  #make({ kind, value }) {
    const { reuse, outbox, previews } = this.#actions;
    if (kind === "message") return new RecordView(value, reuse);
    if (kind === "prompt") return new PromptView(outbox, previews(value.key), reuse);
    if (kind === "surface") return new SurfaceView(value);
    return kind === "run" ? new RunView(value) : new DayView();
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
    this.#latest.hidden = this.#following;
    if (scrollTop < FOLLOW_PX && scrollHeight > clientHeight) this.#loadOlder();
  }

  async #loadOlder() {
    if (this.#loadingOlder || !this.#timeline?.before) return;
    this.#loadingOlder = true;
    const timeline = this.#timeline;
    try {
      const end = this.#scroller.scrollHeight - this.#scroller.scrollTop;
      await this.#actions.loadOlder();
      if (timeline !== this.#timeline) return;
      this.#following = false;
      this.draw();
      this.#scroller.scrollTop = this.#scroller.scrollHeight - end;
    } finally {
      this.#loadingOlder = false;
    }
  }
}

/** The items with a line before the first of each day. */
function withDays(items) {
  let day;
  return items.flatMap((item) => {
    const own = new Date(item.ts).toDateString();
    if (own === day) return [item];
    day = own;
    return [{ kind: "day", key: `day:${own}`, value: dayOf(item.ts) }, item];
  });
}

/** Tells those who do not see the page how a run ended. */
export function announceEnd(run) {
  if (run.status === "ok") announce(`The agent says: ${run.text.slice(0, ANNOUNCE_MAX)}`);
  else if (run.status) announce(`The agent's run ended: ${run.status}`);
}
