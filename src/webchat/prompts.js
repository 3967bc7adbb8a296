// This page's prompts on their way: each is sent under one idempotency key until its end is known, over disconnects,
// restarts of the gateway and reloads of the page. Made by main.js, which passes each change on to the timeline;
// knows nothing of how prompts look.

import { Disconnected } from "./gateway.js";
import { FRAME_OVERHEAD_BYTES, KEY_RESEND_MS, KEY_SEARCH_PAGES, PROMPTS_MAX, SEARCH_PAGE } from "./limits.js";
import { attachmentsOf } from "./pictures.js";
import { prompts as stored, randomKey } from "./storage.js";

/**
 * @typedef {object} Prompt
 * @property {string} key idempotency key
 * @property {object} params of `agent`, without the key
 * @property {number} ts when it was written, by the gateway's clock
 * @property {number} [sentTs] when the key was first sent, by this machine's clock
 * @property {"waiting"|"sending"|"accepted"|"failed"|"ended"} state
 * @property {string} [runId] once the gateway has accepted it
 * @property {string} [error] why it failed
 * @property {boolean} [dead] whether its key is of no use any more: it can only be tried again under another one
 */

/** Prompts whose end is not known yet, and the pictures of all that this page has sent. */
export class Prompts {
  #gateway;
  #onChange;
  /** Prompts by their key, oldest first. */
  #prompts = new Map();
  /** Keys of the prompts about which the gateway is being asked. */
  #inFlight = new Set();
  /** URLs of the pictures of each prompt by its key. Never stored: they live as long as the page. */
  #previews = new Map();

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {(prompt: Prompt, result?: {status: string, summary: string}) => void} onChange called at
   *   each change; with a result at the end
   */
  constructor(gateway, onChange) {
    this.#gateway = gateway;
    this.#onChange = onChange;
    for (const prompt of stored.get()) this.#prompts.set(prompt.key, prompt);
  }

  /** Prompts whose end is not known yet, oldest first. */
  get all() {
    return [...this.#prompts.values()];
  }

  /** URLs of the pictures of a prompt; none after a reload. */
  previewsOf(key) {
    return this.#previews.get(key) ?? [];
  }

  /**
   * Makes a prompt of what was written and sends it. Rejects with a text for the person if that cannot be done.
   * @param {{session: string, text: string, thinking: string, files: File[]}} message
   */
  async submit({ session, text, thinking, files }) {
    const { hello } = this.#gateway;
    if (!hello) throw new Error("Not connected yet; your text is kept.");
    const textBytes = new TextEncoder().encode(JSON.stringify(text)).length;
    const budgetBytes = hello.policy.maxPayload - textBytes - FRAME_OVERHEAD_BYTES;
    if (budgetBytes < 0) throw new Error("This text is too long for one message.");
    if (this.#prompts.size >= PROMPTS_MAX) throw new Error("Too many messages wait already.");
    const attachments = await attachmentsOf(files, budgetBytes);
    const params = {
      sessionKey: session,
      message: text,
      ...(thinking ? { thinking } : {}),
      ...(attachments.length > 0 ? { attachments } : {}),
    };
    const previews = files.map((file) => URL.createObjectURL(file));
    this.#add(params, previews);
  }

  #add(params, previews) {
    const prompt = { key: randomKey(), params, ts: this.#gateway.now(), state: "waiting" };
    this.#prompts.set(prompt.key, prompt);
    // Before it is shown for the first time.
    this.#previews.set(prompt.key, previews);
    this.#changed(prompt);
    this.#send(prompt);
  }

  /** Goes on with everything unfinished; called after each `hello-ok`. */
  resume() {
    for (const prompt of this.all) if (prompt.state !== "failed") this.#send(prompt);
  }

  /** Tries a failed prompt again: under its own key if the gateway still knows that one and takes it. */
  retry(key) {
    const prompt = this.#prompts.get(key);
    if (!prompt || prompt.state !== "failed") return;
    if (prompt.dead || isOld(prompt)) {
      this.discard(key);
      this.#add(prompt.params, this.previewsOf(key));
      return;
    }
    this.#change(prompt, { state: "waiting", error: undefined });
    this.#send(prompt);
  }

  /** Gives up a prompt. */
  discard(key) {
    this.#prompts.delete(key);
    this.#store();
  }

  /** A run has ended, and so has its prompt, unless the gateway is about to tell that itself. */
  onRunEnded(runId, status) {
    const prompt = this.all.find((other) => other.runId === runId && !this.#inFlight.has(other.key));
    if (prompt) this.#end(prompt, { status, summary: "" });
  }

  async #send(prompt) {
    if (!this.#gateway.isOpen || this.#inFlight.has(prompt.key)) return;
    this.#inFlight.add(prompt.key);
    try {
      if (isOld(prompt)) await this.#lookUp(prompt);
      else await this.#request(prompt);
    } catch (failure) {
      this.#onFailure(prompt, failure);
    } finally {
      this.#inFlight.delete(prompt.key);
    }
  }

  async #request(prompt) {
    // Stored before it goes out, or a reload in between would not know that it was sent.
    this.#change(prompt, {
      sentTs: prompt.sentTs ?? Date.now(),
      state: prompt.runId ? "accepted" : "sending",
    });
    const params = { ...prompt.params, idempotencyKey: prompt.key };
    const { summary } = await this.#gateway.request("agent", params, ({ runId }) => {
      this.#change(prompt, { runId, state: "accepted" });
    });
    this.#end(prompt, { status: "ok", summary });
  }

  #onFailure(prompt, failure) {
    const { runId, status, summary } = failure.payload ?? {};
    if (failure instanceof Disconnected) {
      if (prompt.state === "sending") this.#change(prompt, { state: "waiting" });
    } else if (runId) {
      this.#end(Object.assign(prompt, { runId }), { status, summary });
    } else if (failure.details?.outcome === "unknown") {
      // The run was begun before the gateway went down, and nobody knows how far it came.
      this.#end(prompt, { status: "unknown", summary: failure.message });
    } else {
      this.#change(prompt, { state: "failed", error: failure.message, dead: failure.code === "CONFLICT" });
    }
  }

  /** Finds out from the session's history what became of a prompt whose key is too old to be sent. */
  async #lookUp(prompt) {
    const sessionKey = prompt.params.sessionKey;
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
        else if (idempotencyKey === prompt.key) return this.#onFound(prompt, runId, answered.has(runId));
      }
      before = page.before;
      if (!before) break;
    }
    this.#change(prompt, {
      state: "failed",
      dead: true,
      error: "It never arrived while the connection was away.",
    });
  }

  #onFound(prompt, runId, isAnswered) {
    if (isAnswered) this.#end(Object.assign(prompt, { runId }), { status: "ok", summary: "" });
    else this.#change(prompt, { runId, state: "accepted" });
  }

  #end(prompt, result) {
    prompt.state = "ended";
    this.discard(prompt.key);
    this.#onChange(prompt, result);
  }

  #change(prompt, members) {
    Object.assign(prompt, members);
    this.#changed(prompt);
  }

  #changed(prompt) {
    this.#store();
    this.#onChange(prompt);
  }

  #store() {
    // Pictures may be more than the storage takes: then they are left out, and such a prompt is not sent again after
    // a reload.
    if (!stored.set(this.all)) stored.set(this.all.map(withoutPictures));
  }
}

/** Whether the gateway may have forgotten the prompt's key: sent again, it could begin a second run. */
function isOld({ sentTs }) {
  return sentTs !== undefined && Date.now() - sentTs > KEY_RESEND_MS;
}

function withoutPictures(prompt) {
  if (!prompt.params.attachments) return prompt;
  // With a time so old that it is not sent again: other params under the same key would be a conflict.
  return { ...prompt, params: { ...prompt.params, attachments: undefined }, sentTs: 0 };
}
