// The conversation of the open session: draws its timeline into the page and keeps the reader's place in it. Made by
// main.js; knows nothing of the gateway, and changes no timeline.

import { announce, byId } from "./dom.js";
import { dayOf } from "./format.js";
import { ANNOUNCE_MAX, FOLLOW_PX } from "./limits.js";
import { ChannelMessageView, DayView, PromptView, RecordView } from "./message_view.js";
import { RunView } from "./run_view.js";

export class Conversation {
  #actions;
  #timeline;
  /** Views by the key of their item. */
  #views = new Map();
  /** The animation frame that is to draw; 0 if none. */
  #frame = 0;
  /** Whether the reader is at the end, and is to stay there. */
  #isFollowing = true;
  #scroller = byId("scroller");
  #items = byId("items");
  #latest = byId("latest");
  #isLoadingOlder = false;

  /**
   * @param {object} actions
   * @param {(text: string) => void} actions.reuse puts a text into the composer
   * @param {{retry: (key: string) => void, discard: (key: string) => void}} actions.prompts
   * @param {(key: string) => string[]} actions.previews URLs of a prompt's pictures
   * @param {() => Promise<void>} actions.loadOlder fetches the page of history before the oldest one
   */
  constructor(actions) {
    this.#actions = actions;
    this.#scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.#latest.onclick = () => this.follow();
    byId("earlier").onclick = () => this.#loadOlder();
    // A composer or keyboard that grows must not hide the end.
    new ResizeObserver(() => this.#isFollowing && this.#toEnd()).observe(this.#scroller);
  }

  /** Shows another session's conversation. */
  show(timeline) {
    this.#timeline = timeline;
    this.#views.clear();
    this.#items.replaceChildren();
    this.#isFollowing = true;
    this.draw();
  }

  /** Draws what has changed, with the next frame of the screen. */
  drawSoon() {
    // A hidden page has no frames, and must be up to date when it is shown.
    if (document.hidden) this.draw();
    else this.#frame ||= requestAnimationFrame(() => this.draw());
  }

  /** Goes to the end and stays there. */
  follow() {
    this.#isFollowing = true;
    this.#toEnd();
    this.#onScroll();
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
    byId("welcome").hidden = !this.#timeline.isLoaded || items.length > 0;
    if (this.#isFollowing) this.#toEnd();
    else this.#onScroll();
  }

  #make({ kind, value }) {
    const { reuse, prompts, previews } = this.#actions;
    if (kind === "message") return new RecordView(value, reuse);
    if (kind === "prompt") return new PromptView(prompts, previews(value.key), reuse);
    if (kind === "channel") return new ChannelMessageView(value);
    return kind === "run" ? new RunView(value) : new DayView();
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#isFollowing = scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
    this.#latest.hidden = this.#isFollowing;
    if (scrollTop < FOLLOW_PX && scrollHeight > clientHeight) this.#loadOlder();
  }

  async #loadOlder() {
    if (this.#isLoadingOlder || !this.#timeline?.before) return;
    this.#isLoadingOlder = true;
    const timeline = this.#timeline;
    try {
      const end = this.#scroller.scrollHeight - this.#scroller.scrollTop;
      await this.#actions.loadOlder();
      if (timeline !== this.#timeline) return;
      this.#isFollowing = false;
      this.draw();
      this.#scroller.scrollTop = this.#scroller.scrollHeight - end;
    } finally {
      this.#isLoadingOlder = false;
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

/** Has a screen reader say how a run ended. */
export function announceEnd(run) {
  if (run.status === "ok") announce(`The agent says: ${run.text.slice(0, ANNOUNCE_MAX)}`);
  else if (run.status) announce(`The agent's run ended: ${run.status}`);
}
