// Prompts on their way: each is sent under one idempotency key until its end is known, over
// disconnects, restarts of the gateway and reloads of the page. Knows nothing of how they look.

import { Disconnected } from "./gateway.js";
import { KEY_RESEND_MS, KEY_SEARCH_PAGES, SEARCH_PAGE } from "./limits.js";
import { outbox as stored, randomKey } from "./storage.js";

/**
 * @typedef {object} Entry
 * @property {string} key idempotency key
 * @property {object} params of `agent`, without the key
 * @property {number} ts when it was written, by the gateway's clock
 * @property {number} [sentTs] when the key was first sent, by this clock
 * @property {"waiting"|"sending"|"accepted"|"failed"|"ended"} state
 * @property {string} [runId]
 * @property {string} [error] why it failed
 * @property {boolean} [dead] whether its key can do nothing any more
 */

/** Prompts that are not known to have ended, and the pictures of those that the page has sent. */

export class Outbox {
  #gateway;
  #changed;
  /** Entries by their key, oldest first. */
  #entries = new Map();
  /** Keys of the entries about which the gateway is being asked. */
  #inFlight = new Set();
  /** URLs of the pictures of each prompt by its key. Never stored: they live as long as the page. */
  #previews = new Map();

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {(entry: Entry, result?: {status: string, summary: string}) => void} changed called at
   *   each change; with a result at the end
   */
  constructor(gateway, changed) {
    this.#gateway = gateway;
    this.#changed = changed;
    for (const entry of stored.get()) this.#entries.set(entry.key, entry);
  }

  /** Prompts that are not known to have ended, oldest first. */
  get entries() {
    return [...this.#entries.values()];
  }

  /** URLs of the pictures of a prompt; none after a reload. */
  previewsOf(key) {
    return this.#previews.get(key) ?? [];
  }

  /** Takes in a prompt and sends it as soon as there is a connection. */
  add(params, ts, previews) {
    const entry = { key: randomKey(), params, ts, state: "waiting" };
    this.#entries.set(entry.key, entry);
    // Before it is shown for the first time.
    this.#previews.set(entry.key, previews);
    this.#announce(entry);
    this.#send(entry);
  }

  /** Goes on with everything unfinished; called after each `hello-ok`. */
  resume() {
    for (const entry of this.entries) if (entry.state !== "failed") this.#send(entry);
  }

  /** Tries a failed prompt again: under its own key while that is safe and of use. */
  retry(key) {
    const entry = this.#entries.get(key);
    if (!entry || entry.state !== "failed") return;
    if (entry.dead || isOld(entry)) {
      this.discard(key);
      this.add(entry.params, Date.now(), this.previewsOf(key));
      return;
    }
    this.#change(entry, { state: "waiting", error: undefined });
    this.#send(entry);
  }

  /** Gives up a prompt. */
  discard(key) {
    this.#entries.delete(key);
    this.#persist();
  }

  /** A run is over: so is a prompt that only waited to hear that. */
  onRunEnded(runId, status) {
    const entry = this.entries.find((other) => other.runId === runId && !this.#inFlight.has(other.key));
    if (entry) this.#end(entry, { status, summary: "" });
  }

  async #send(entry) {
    if (!this.#gateway.isOpen || this.#inFlight.has(entry.key)) return;
    this.#inFlight.add(entry.key);
    try {
      if (isOld(entry)) await this.#lookUp(entry);
      else await this.#ask(entry);
    } catch (failure) {
      this.#onFailure(entry, failure);
    } finally {
      this.#inFlight.delete(entry.key);
    }
  }

  async #ask(entry) {
    // On record before it goes out, or a reload in between would lose sight of it.
    this.#change(entry, { sentTs: entry.sentTs ?? Date.now(), state: entry.runId ? "accepted" : "sending" });
    const params = { ...entry.params, idempotencyKey: entry.key };
    const { summary } = await this.#gateway.request("agent", params, ({ runId }) => {
      this.#change(entry, { runId, state: "accepted" });
    });
    this.#end(entry, { status: "ok", summary });
  }

  #onFailure(entry, failure) {
    const { runId, status, summary } = failure.payload ?? {};
    if (failure instanceof Disconnected) {
      if (entry.state === "sending") this.#change(entry, { state: "waiting" });
    } else if (runId) {
      this.#end(Object.assign(entry, { runId }), { status, summary });
    } else if (failure.details?.outcome === "unknown") {
      // It was begun before the gateway went down, and nobody knows how far it came.
      this.#end(entry, { status: "unknown", summary: failure.message });
    } else {
      this.#change(entry, { state: "failed", error: failure.message, dead: failure.code === "CONFLICT" });
    }
  }

  /** Finds out from the session's history what became of a prompt whose key is too old to be sent. */
  async #lookUp(entry) {
    const sessionKey = entry.params.sessionKey;
    let before;
    const answered = new Set();
    for (let pages = 0; pages < KEY_SEARCH_PAGES; pages += 1) {
      const page = await this.#gateway.request("session-history", {
        sessionKey,
        limit: SEARCH_PAGE,
        ...(before ? { before } : {}),
      });
      for (const { role, runId, idempotencyKey } of page.messages) {
        if (role !== "user") answered.add(runId);
        else if (idempotencyKey === entry.key) return this.#onFound(entry, runId, answered.has(runId));
      }
      before = page.before;
      if (!before) break;
    }
    this.#change(entry, {
      state: "failed",
      dead: true,
      error: "It never arrived while the connection was away.",
    });
  }

  #onFound(entry, runId, isAnswered) {
    if (isAnswered) this.#end(Object.assign(entry, { runId }), { status: "ok", summary: "" });
    else this.#change(entry, { runId, state: "accepted" });
  }

  #end(entry, result) {
    entry.state = "ended";
    this.discard(entry.key);
    this.#changed(entry, result);
  }

  #change(entry, members) {
    Object.assign(entry, members);
    this.#announce(entry);
  }

  #announce(entry) {
    this.#persist();
    this.#changed(entry);
  }

  #persist() {
    // Pictures may be more than the storage takes: then they are left out, and with them the retry
    // after a reload.
    if (!stored.set(this.entries)) stored.set(this.entries.map(withoutPictures));
  }
}

function isOld({ sentTs }) {
  return sentTs !== undefined && Date.now() - sentTs > KEY_RESEND_MS;
}

function withoutPictures(entry) {
  if (!entry.params.attachments) return entry;
  // Old enough never to be sent again: other params under the same key would be a conflict.
  return { ...entry, params: { ...entry.params, attachments: undefined }, sentTs: 0 };
}
