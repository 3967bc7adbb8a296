// One run of the agent as its events tell it. Knows nothing of how it looks, nor of other runs.

/** A run that is or was followed live. */
export class Run {
  /** Last step that was seen; steps count from 1 without holes. */
  #seq = 0;

  constructor(runId, sessionKey, ts) {
    this.id = runId;
    this.sessionKey = sessionKey;
    this.ts = ts;
    /** `queued`, `started`, `retrying`, `compacting` or `ended`. */
    this.phase = "started";
    /** Pieces in their order: `{kind: "text"|"thinking"|"error", text}` or `{kind: "tool", ...}`. */
    this.parts = [];
    /** Whether nothing of it was missed. */
    this.isWhole = true;
    /** Rises with each change, so that a view sees one by comparing. */
    this.revision = 0;
  }

  /** Whether it waits or works. */
  get isActive() {
    return this.phase !== "ended";
  }

  /** Whether the agent is known to have it in hand. */
  get isWorking() {
    return this.#seq > 0 && this.phase !== "queued" && !this.mergedInto;
  }

  /** All of the answer so far. */
  get text() {
    return this.parts
      .filter((part) => part.kind === "text")
      .map((part) => part.text)
      .join("\n\n");
  }

  /** Applies the payload of an `agent` event. */
  apply({ seq, stream, data }) {
    if (seq <= this.#seq) return;
    // The first step again makes whole what was only known to be under way.
    if (seq === 1) this.isWhole = true;
    else if (seq !== this.#seq + 1) this.isWhole = false;
    this.#seq = seq;
    this.revision += 1;
    if (stream === "lifecycle") this.#lifecycle(data);
    else if (stream === "assistant" && data.reset)
      this.parts = this.parts.filter((part) => part.kind !== "text");
    else if (stream === "assistant") this.#append("text", data.delta);
    else if (stream === "thinking") this.#append("thinking", data.delta);
    else if (stream === "tool") this.#tool(data);
    else if (stream === "error") this.parts.push({ kind: "error", text: data.message });
    // What streams is no longer waiting, whatever happened to the step that said so.
    if (stream !== "lifecycle" && this.phase === "queued") this.phase = "started";
  }

  #lifecycle({ phase, position, status, reason, mergedInto }) {
    Object.assign(this, { phase, position, reason });
    if (mergedInto) this.mergedInto = mergedInto;
    if (phase === "ended") this.status = status;
  }

  #append(kind, text) {
    const last = this.parts.at(-1);
    if (last?.kind === kind) last.text += text;
    else this.parts.push({ kind, text });
  }

  #tool({ phase, toolCallId, name, args, result, isError, truncated }) {
    let part = this.parts.find((other) => other.toolCallId === toolCallId);
    if (!part) {
      part = { kind: "tool", toolCallId, name };
      this.parts.push(part);
    }
    part.isEnded = phase === "end";
    if (args !== undefined) part.args = args;
    if (result !== undefined) part.result = result;
    if (isError) part.isError = true;
    if (truncated) part.truncated = true;
  }

  /** The connection was away, so steps may be missing. */
  markMissed() {
    if (!this.isActive) return;
    this.isWhole = false;
    this.revision += 1;
  }

  /** What became of its answer on a channel. */
  setDelivery(delivery) {
    this.delivery = delivery;
    this.revision += 1;
  }

  /** The final answer to the request; it also ends a run whose last event was missed. */
  finish(status, summary) {
    if (!this.isActive) return;
    Object.assign(this, { phase: "ended", status, revision: this.revision + 1 });
    if (status !== "ok") this.reason = summary;
    else if (!this.isWhole) this.parts = [{ kind: "text", text: summary }];
  }
}
