// The conversations of all sessions, and fetching what is on record of them. Knows nothing of how they look,
// nor which of them is open.

import { HISTORY_PAGE } from "./limits.js";
import { Timeline } from "./timeline.js";

/** Every session's timeline, made when it is first asked for. */
export class Timelines {
  #gateway;
  #runsUnderWay;
  #bySession = new Map();

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {() => number} runsUnderWay runs that wait or work, in all sessions
   */
  constructor(gateway, runsUnderWay) {
    this.#gateway = gateway;
    this.#runsUnderWay = runsUnderWay;
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
    return [...this.#bySession.values()].filter(({ isLoaded }) => isLoaded).map(({ sessionKey }) => sessionKey);
  }

  /** Events may have been missed, of any session. */
  markMissed() {
    for (const timeline of this.#bySession.values()) timeline.markMissed();
  }

  /** No run is under way any more, in any session. */
  dropRunsUnderWay() {
    for (const timeline of this.#bySession.values()) timeline.setUnderWay(0);
  }

  /** Fetches the newest page of a session's history; without an answer the timeline stays as it is. */
  async fetchNewest(sessionKey) {
    const timeline = this.of(sessionKey);
    const { endedRuns } = timeline;
    timeline.isAwaitingFirst = !timeline.isLoaded;
    const page = await this.#page({ sessionKey, limit: HISTORY_PAGE });
    timeline.isAwaitingFirst = false;
    if (!page) return;
    timeline.addNewest(page, endedRuns);
    timeline.setUnderWay(this.#runsUnderWay());
  }

  /** Fetches the page before the oldest one on show. */
  async fetchOlder(sessionKey) {
    const timeline = this.of(sessionKey);
    const { before } = timeline;
    const page = await this.#page({ sessionKey, limit: HISTORY_PAGE, before });
    if (page) timeline.addOlder(page, before);
  }

  #page(params) {
    return this.#gateway.request("session-history", params).catch(() => undefined);
  }
}
