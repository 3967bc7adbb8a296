// One run of the agent, as its steps (`agent` events) tell it. Made by a timeline; knows nothing of how it looks, nor
// of other runs.

/** A run that the page follows or followed live. */
export class Run {
  /** Number of the last step; the steps of a run count from 1 without holes. */
  #seq = 0;

  constructor(runId, sessionKey, ts) {
    this.id = runId;
    this.sessionKey = sessionKey;
    this.ts = ts;
    /** `queued`, `started`, `retrying`, `compacting` or `ended`. */
    this.phase = "started";
    /** What the agent said and did, in order: `{kind: "text"|"thinking"|"error", text}` or `{kind: "tool", ...}`. */
    this.blocks = [];
    /** Whether no step of it was missed. */
    this.hasAllSteps = true;
    /** Rises with each change, so that a view knows whether it has drawn this state. */
    this.revision = 0;
  }

  /** Whether it waits or works. */
  get isUnderWay() {
    return this.phase !== "ended";
  }

  /** Whether it is known that the agent works on it. */
  get isWorking() {
    return this.#seq > 0 && this.phase !== "queued" && !this.mergedInto;
  }

  /** All of the answer so far. */
  get text() {
    return this.blocks
      .filter((block) => block.kind === "text")
      .map((block) => block.text)
      .join("\n\n");
  }

  /** Applies the payload of an `agent` event. */
  apply({ seq, stream, data }) {
    if (seq <= this.#seq) return;
    // The first step comes also for a run that was known from the record only: from here on nothing is missed.
    if (seq === 1) this.hasAllSteps = true;
    else if (seq !== this.#seq + 1) this.hasAllSteps = false;
    this.#seq = seq;
    this.revision += 1;
    if (stream === "lifecycle") this.#lifecycle(data);
    else if (stream === "assistant" && data.reset)
      this.blocks = this.blocks.filter((block) => block.kind !== "text");
    else if (stream === "assistant") this.#append("text", data.delta);
    else if (stream === "thinking") this.#append("thinking", data.delta);
    else if (stream === "tool") this.#tool(data);
    else if (stream === "error") this.blocks.push({ kind: "error", text: data.message });
    // An answer that streams no longer waits, even if the step that said so was missed.
    if (stream !== "lifecycle" && this.phase === "queued") this.phase = "started";
  }

  #lifecycle({ phase, position, status, reason, mergedInto }) {
    Object.assign(this, { phase, position, reason });
    if (mergedInto) this.mergedInto = mergedInto;
    if (phase === "ended") this.status = status;
  }

  #append(kind, text) {
    const last = this.blocks.at(-1);
    if (last?.kind === kind) last.text += text;
    else this.blocks.push({ kind, text });
  }

  #tool({ phase, toolCallId, name, args, result, isError, truncated }) {
    let block = this.blocks.find((other) => other.toolCallId === toolCallId);
    if (!block) {
      block = { kind: "tool", toolCallId, name };
      this.blocks.push(block);
    }
    block.isEnded = phase === "end";
    if (args !== undefined) block.args = args;
    if (result !== undefined) block.result = result;
    if (isError) block.isError = true;
    if (truncated) block.truncated = true;
  }

  /** Steps may have been missed. */
  markStepsMissed() {
    if (!this.isUnderWay) return;
    this.hasAllSteps = false;
    this.revision += 1;
  }

  /** Notes what became of its answer on a channel. */
  setDelivery(delivery) {
    this.delivery = delivery;
    this.revision += 1;
  }

  /** Ends the run by the final answer to its request, in case its last step was missed. */
  finish(status, summary) {
    if (!this.isUnderWay) return;
    Object.assign(this, { phase: "ended", status, revision: this.revision + 1 });
    if (status !== "ok") this.reason = summary;
    else if (!this.hasAllSteps) this.blocks = [{ kind: "text", text: summary }];
  }
}
