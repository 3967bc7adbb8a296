// What a session's conversation consists of: records, runs that are followed live, prompts on their
// way and messages on a channel, each shown once. Knows nothing of how it looks, nor of the gateway.

import { SAME_MESSAGE_MS } from "./limits.js";
import { Run } from "./run.js";

/** What stands first of the items of one moment. */
const RANKS = { user: 0, run: 1, other: 2 };

/** One session's conversation. */
export class Timeline {
  /** Messages on record by their id. */
  #records = new Map();
  /** `message` events by their id, each with `seenTs`. */
  #channelMessages = new Map();
  /** Entries of the outbox by their key. */
  #prompts = new Map();
  /** Runs by their id. */
  #runs = new Map();

  constructor(sessionKey) {
    this.sessionKey = sessionKey;
    /** The conversation under the key; a reset changes it. */
    this.sessionId = undefined;
    /** Cursor of the next older page. */
    this.before = undefined;
    /** Whether a page has come. */
    this.isLoaded = false;
    /** Whether the first page is on its way. */
    this.isAwaitingFirst = false;
  }

  /** Runs that wait or work: the one that works first, whichever the page heard of first. */
  get activeRuns() {
    const active = [...this.#runs.values()].filter((run) => run.isActive);
    return active.sort((one, other) => other.isWorking - one.isWorking || one.ts - other.ts);
  }

  /**
   * Adds the newest page. `endedRuns` had ended when it was asked for: what is not on record of
   * them now never will be.
   */
  addNewest(page, endedRuns) {
    const isConnected = page.messages.some(({ id }) => this.#records.has(id)) || page.before === undefined;
    if (page.sessionId !== this.sessionId || !isConnected) {
      this.#records.clear();
      this.#channelMessages.clear();
      this.before = page.before;
      for (const run of this.#runs.values()) if (!run.isActive) this.#runs.delete(run.id);
      for (const prompt of this.#prompts.values())
        if (prompt.state === "ended") this.#prompts.delete(prompt.key);
    } else if (!this.isLoaded) {
      this.before = page.before;
    }
    this.sessionId = page.sessionId;
    this.isLoaded = true;
    this.#addRecords(page.messages);
    const answered = new Set(page.messages.filter(({ role }) => role !== "user").map(({ runId }) => runId));
    for (const run of endedRuns) if (!answered.has(run.id)) this.#runs.delete(run.id);
    // Nothing more will be heard of these: their end was missed.
    for (const run of this.activeRuns) if (!run.isWhole && answered.has(run.id)) this.#runs.delete(run.id);
  }

  /**
   * Shows runs that began before the page was there: prompts without an answer, the newest first.
   * @param {number} underWay runs that wait or work, in all sessions
   */
  setUnderWay(underWay) {
    const answered = new Set(this.#answers().map(({ runId }) => runId));
    const open = [...this.#records.values()]
      .filter(({ role, runId }) => role === "user" && runId && !answered.has(runId))
      .sort((one, other) => other.ts - one.ts);
    for (const { runId, ts } of open.slice(0, underWay)) {
      if (this.#runs.has(runId)) continue;
      const run = new Run(runId, this.sessionKey, ts);
      run.markMissed();
      this.#runs.set(runId, run);
    }
    if (underWay > 0) return;
    for (const run of this.activeRuns) if (!run.isWhole) this.#runs.delete(run.id);
  }

  #answers() {
    return [...this.#records.values()].filter(({ role }) => role !== "user");
  }

  /** Adds the page before `before`, unless that is no longer the oldest on show. */
  addOlder(page, before) {
    if (page.sessionId !== this.sessionId || before !== this.before) return;
    this.before = page.before;
    this.#addRecords(page.messages);
  }

  #addRecords(messages) {
    for (const message of messages) this.#records.set(message.id, message);
  }

  /** Adds a message on a channel, on record or not yet; later events with its id tell what became of it. */
  addChannelMessage(event, seenTs) {
    const { ts, seenTs: first } = this.#channelMessages.get(event.id) ?? { ts: event.ts, seenTs };
    this.#channelMessages.set(event.id, { ...event, ts, seenTs: first });
    if (event.direction === "in") return;
    const parts = [...this.#channelMessages.values()].filter(({ runId }) => runId === event.runId);
    this.#runs.get(event.runId)?.setDelivery(worstOf(parts));
  }

  /** Adds a prompt of this page that may not be on record yet, or a change of it. */
  setPrompt(entry) {
    this.#prompts.set(entry.key, entry);
  }

  /** Takes out a prompt that was given up, or is shown under another key now. */
  dropPrompt(key) {
    this.#prompts.delete(key);
  }

  /** Applies an `agent` event; returns its run and whether that is a new one. */
  applyStep(payload) {
    const known = this.#runs.get(payload.runId);
    const run = known ?? new Run(payload.runId, this.sessionKey, payload.ts);
    this.#runs.set(run.id, run);
    run.apply(payload);
    return { run, isNew: !known };
  }

  /** The run of that id, if it was followed. */
  run(id) {
    return this.#runs.get(id);
  }

  /** Runs that were followed and are over. */
  get endedRuns() {
    return [...this.#runs.values()].filter((run) => !run.isActive);
  }

  /** Events may have been missed. */
  markMissed() {
    for (const run of this.#runs.values()) run.markMissed();
  }

  #recordOf(key) {
    return [...this.#records.values()].find(
      (message) => message.role === "user" && message.idempotencyKey === key,
    );
  }

  /**
   * Everything to show, in order.
   * @returns {{key: string, kind: "message"|"run"|"prompt"|"channel", ts: number, value: object}[]}
   */
  items() {
    const items = [];
    const channelMessages = new Map(this.#channelMessages);
    const promptTs = new Map();
    const answered = new Set();
    const add = (kind, id, ts, rank, value) => items.push({ kind, key: `${kind}:${id}`, ts, rank, value });
    for (const message of this.#records.values()) {
      if (message.role === "user") {
        promptTs.set(message.runId, message.ts);
        // Under the prompt's own key, so that what was typed does not jump when it is on record.
        const prompt = this.#prompts.get(message.idempotencyKey);
        if (prompt) add("prompt", prompt.key, message.ts, RANKS.user, { ...prompt, record: message });
        else add("message", message.id, message.ts, RANKS.user, withChannel(message, channelMessages));
      } else if (!this.#runs.get(message.runId)?.isWhole) {
        answered.add(message.runId);
        add("message", message.id, message.ts, RANKS.other, withChannel(message, channelMessages));
      }
    }
    for (const event of channelMessages.values()) {
      // The run's own view says it, and what became of it.
      if (event.direction === "out" && this.#runs.has(event.runId) && !answered.has(event.runId)) continue;
      add("channel", event.id, event.ts, RANKS.user, event);
    }
    for (const prompt of this.#prompts.values()) {
      if (this.#recordOf(prompt.key)) continue;
      promptTs.set(prompt.runId, prompt.ts);
      add("prompt", prompt.key, prompt.ts, RANKS.user, prompt);
    }
    for (const run of this.#runs.values()) {
      if (run.mergedInto || answered.has(run.id)) continue;
      // The page that is about to come has what was asked as well, and may not reach back as far.
      if (this.isAwaitingFirst && !run.isActive) continue;
      add("run", run.id, Math.max(run.ts, promptTs.get(run.id) ?? 0), RANKS.run, run);
    }
    return items.sort((one, other) => one.ts - other.ts || one.rank - other.rank);
  }
}

/** The record with what its channel said of it; takes that out of `channelMessages`. */
function withChannel(message, channelMessages) {
  const events = [];
  for (const [id, event] of channelMessages) {
    if (!isPartOf(event, message)) continue;
    // One question is one event, and the further pictures of an album; an answer may be many.
    if (event.direction === "in" && event.text !== "" && events.some(({ text }) => text !== "")) continue;
    channelMessages.delete(id);
    events.push(event);
  }
  return events.length === 0
    ? message
    : { ...message, ...worstOf(events), media: events.flatMap(({ media }) => media ?? []) };
}

/** Whether a message on a channel is part of that record, which tells less of it. */
function isPartOf(event, message) {
  if ((event.direction === "in") !== (message.role === "user")) return false;
  if (event.runId) return event.runId === message.runId;
  if (event.channel !== message.channel && event.direction === "in") return false;
  const lateMs = message.ts - event.seenTs;
  return (
    message.text.includes(event.text) &&
    lateMs > -SAME_MESSAGE_MS &&
    (event.text !== "" || lateMs < SAME_MESSAGE_MS)
  );
}

/** What a person should know of how the parts of a message fared: the worst. */
function worstOf(events) {
  const { status, reason } =
    ["failed", "unknown", "queued"]
      .map((bad) => events.find((event) => event.status === bad))
      .find(Boolean) ?? {};
  return { status, reason };
}
