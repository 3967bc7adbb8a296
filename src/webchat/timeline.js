// What there is to show of one session: records, runs that are followed live, this page's prompts and messages on a
// channel, each of them once. Made and filled by timelines.js and main.js, drawn by conversation.js; knows nothing of
// how it looks, nor of the gateway.

import { SAME_MESSAGE_MS } from "./limits.js";
import { Run } from "./run.js";

/** Which item comes first when several are of one moment. */
const RANKS = { user: 0, run: 1, other: 2 };

/** One session's timeline. */
export class Timeline {
  /** Messages on record by their id. */
  #records = new Map();
  /** `message` events by their id, each with `seenTs`. */
  #channelMessages = new Map();
  /** Prompts of this page (see prompts.js) by their key. */
  #prompts = new Map();
  /** Runs by their id. */
  #runs = new Map();

  constructor(sessionKey) {
    this.sessionKey = sessionKey;
    /** The conversation under the key; a reset changes it. */
    this.sessionId = undefined;
    /** Cursor of the page before the oldest one that is loaded. */
    this.before = undefined;
    /** Whether a page of history has come. */
    this.isLoaded = false;
    /** Whether the first page of history has been asked for and has not come yet. */
    this.isAwaitingFirstPage = false;
  }

  /** Runs that wait or work: the one that works first, then the others by their time. */
  get runsUnderWay() {
    const runs = [...this.#runs.values()].filter((run) => run.isUnderWay);
    return runs.sort((one, other) => other.isWorking - one.isWorking || one.ts - other.ts);
  }

  /**
   * Adds the newest page of history.
   * @param {object} page the answer to `session-history`
   * @param {Run[]} endedRuns runs that had ended when it was asked for: what they said is on record now, or never
   *   will be
   */
  addNewestPage(page, endedRuns) {
    const reachesRecords = page.messages.some(({ id }) => this.#records.has(id)) || page.before === undefined;
    if (page.sessionId !== this.sessionId || !reachesRecords) {
      this.#records.clear();
      this.#channelMessages.clear();
      this.before = page.before;
      for (const run of this.#runs.values()) if (!run.isUnderWay) this.#runs.delete(run.id);
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
    // The end of these was missed: their answer is on record.
    for (const run of this.runsUnderWay)
      if (!run.hasAllSteps && answered.has(run.id)) this.#runs.delete(run.id);
  }

  /**
   * Adds runs that began before the page was there, which are prompts on record without an answer: as many of them as
   * runs are under way, the newest first. If none is, those are removed whose end was missed.
   * @param {number} count runs that wait or work, in all sessions
   */
  setRunsUnderWay(count) {
    const records = [...this.#records.values()];
    const answered = new Set(records.filter(({ role }) => role !== "user").map(({ runId }) => runId));
    const unanswered = records
      .filter(({ role, runId }) => role === "user" && runId && !answered.has(runId))
      .sort((one, other) => other.ts - one.ts);
    for (const { runId, ts } of unanswered.slice(0, count)) {
      if (this.#runs.has(runId)) continue;
      const run = new Run(runId, this.sessionKey, ts);
      run.markStepsMissed();
      this.#runs.set(runId, run);
    }
    if (count > 0) return;
    for (const run of this.runsUnderWay) if (!run.hasAllSteps) this.#runs.delete(run.id);
  }

  /** Adds the page of history before the cursor `before`, unless another page has taken that place meanwhile. */
  addOlderPage(page, before) {
    if (page.sessionId !== this.sessionId || before !== this.before) return;
    this.before = page.before;
    this.#addRecords(page.messages);
  }

  #addRecords(messages) {
    for (const message of messages) this.#records.set(message.id, message);
  }

  /** Adds a `message` event, which is on record or will be; later events with its id tell what became of it. */
  addChannelMessage(event, seenTs) {
    const { ts, seenTs: first } = this.#channelMessages.get(event.id) ?? { ts: event.ts, seenTs };
    this.#channelMessages.set(event.id, { ...event, ts, seenTs: first });
    if (event.direction === "in") return;
    const parts = [...this.#channelMessages.values()].filter(({ runId }) => runId === event.runId);
    this.#runs.get(event.runId)?.setDelivery(worstStatusOf(parts));
  }

  /** Adds a prompt of this page, or its new state. */
  setPrompt(prompt) {
    this.#prompts.set(prompt.key, prompt);
  }

  /** Removes a prompt that was discarded, or is tried again under another key. */
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

  /** The run with that id, if the page knows it. */
  run(id) {
    return this.#runs.get(id);
  }

  /** Runs that were followed live and have ended. */
  get endedRuns() {
    return [...this.#runs.values()].filter((run) => !run.isUnderWay);
  }

  /** Steps of its runs may have been missed. */
  markStepsMissed() {
    for (const run of this.#runs.values()) run.markStepsMissed();
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
        // Under the prompt's own key, so that its element stays the same when it comes on record.
        const prompt = this.#prompts.get(message.idempotencyKey);
        if (prompt) add("prompt", prompt.key, message.ts, RANKS.user, { ...prompt, record: message });
        else
          add("message", message.id, message.ts, RANKS.user, withChannelMessages(message, channelMessages));
      } else if (!this.#runs.get(message.runId)?.hasAllSteps) {
        answered.add(message.runId);
        add("message", message.id, message.ts, RANKS.other, withChannelMessages(message, channelMessages));
      }
    }
    for (const event of channelMessages.values()) {
      // The run's own view shows it, and what became of it.
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
      // The page of history that is about to come shows its prompt as well, or does not reach back as far.
      if (this.isAwaitingFirstPage && !run.isUnderWay) continue;
      add("run", run.id, Math.max(run.ts, promptTs.get(run.id) ?? 0), RANKS.run, run);
    }
    return items.sort((one, other) => one.ts - other.ts || one.rank - other.rank);
  }
}

/** The record with what the `message` events tell of it; takes these out of `channelMessages`. */
function withChannelMessages(message, channelMessages) {
  const events = [];
  for (const [id, event] of channelMessages) {
    if (!isPartOf(event, message)) continue;
    // A question is one event, and one more for each further picture of an album; an answer is one for each part.
    if (event.direction === "in" && event.text !== "" && events.some(({ text }) => text !== "")) continue;
    channelMessages.delete(id);
    events.push(event);
  }
  return events.length === 0
    ? message
    : { ...message, ...worstStatusOf(events), media: events.flatMap(({ media }) => media ?? []) };
}

/** Whether a `message` event is about that record. */
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

/** What became of a message in several parts: the worst status of any part, with its reason. */
function worstStatusOf(events) {
  const { status, reason } =
    ["failed", "unknown", "queued"]
      .map((bad) => events.find((event) => event.status === bad))
      .find(Boolean) ?? {};
  return { status, reason };
}
