// The timelines of all sessions; fetches what is on record of them. Made by main.js; knows nothing of how they look,
// nor which of them is open.

import { HISTORY_PAGE } from "./limits.js";
import { Timeline } from "./timeline.js";

/** Every session's timeline, made when it is first asked for. */
export class Timelines {
  #gateway;
  #countRunsUnderWay;
  #bySession = new Map();

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {() => number} countRunsUnderWay how many runs wait or work, in all sessions
   */
  constructor(gateway, countRunsUnderWay) {
    this.#gateway = gateway;
    this.#countRunsUnderWay = countRunsUnderWay;
  }

  /** The timeline of a session. */
  of(sessionKey) {
    let timeline = this.#bySession.get(sessionKey);
    if (!timeline) {
      timeline = new Timeline(sessionKey);
      this.#bySession.set(sessionKey, timeline);
    }
    return timeline;
  }

  /** Keys of the sessions whose history the page has. */
  get loadedKeys() {
    return [...this.#bySession.values()]
      .filter(({ isLoaded }) => isLoaded)
      .map(({ sessionKey }) => sessionKey);
  }

  /** Steps of any run may have been missed. */
  markStepsMissed() {
    for (const timeline of this.#bySession.values()) timeline.markStepsMissed();
  }

  /** No run is under way any more, in any session. */
  dropRunsUnderWay() {
    for (const timeline of this.#bySession.values()) timeline.setRunsUnderWay(0);
  }

  /** Fetches the newest page of a session's history; without an answer the timeline stays as it is. */
  async fetchNewest(sessionKey) {
    const timeline = this.of(sessionKey);
    const { endedRuns } = timeline;
    timeline.isAwaitingFirstPage = !timeline.isLoaded;
    const page = await this.#page({ sessionKey, limit: HISTORY_PAGE });
    timeline.isAwaitingFirstPage = false;
    if (!page) return;
    timeline.addNewestPage(page, endedRuns);
    timeline.setRunsUnderWay(this.#countRunsUnderWay());
  }

  /** Fetches the page before the oldest one on show. */
  async fetchOlder(sessionKey) {
    const timeline = this.of(sessionKey);
    const { before } = timeline;
    const page = await this.#page({ sessionKey, limit: HISTORY_PAGE, before });
    if (page) timeline.addOlderPage(page, before);
  }

  #page(params) {
    return this.#gateway.request("session-history", params).catch(() => undefined);
  }
}
