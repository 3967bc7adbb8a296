// A run as an element, while it streams and after: what the agent thinks, calls and says. Made by the conversation;
// knows nothing of the gateway.

import { copyButton, icon, make } from "./dom.js";
import { momentOf, timeOf } from "./format.js";
import { TOOL_PREVIEW_MAX } from "./limits.js";
import { MarkdownView } from "./markdown.js";
import { deliveryOf } from "./message_view.js";

export class RunView {
  #revision;
  #blocks = [];
  #body = make("div", { className: "bubble" });
  #state = make("p", { className: "below" });
  #actions = make("div", { className: "actions" });

  constructor(run) {
    const head = make(
      "div",
      { className: "who" },
      make("span", { className: "name" }, "Agent"),
      make("time", { dateTime: new Date(run.ts).toISOString(), title: momentOf(run.ts) }, timeOf(run.ts)),
    );
    this.#actions.append(copyButton("Copy message", () => run.text));
    this.element = make("li", { className: "item agent" }, head, this.#body, this.#state, this.#actions);
  }

  /** Shows the run as it is now. */
  update(run) {
    if (run.revision === this.#revision) return;
    this.#revision = run.revision;
    const kept = Math.min(this.#blocks.length, run.blocks.length);
    for (const view of this.#blocks.splice(run.blocks.length)) view.element.remove();
    for (let index = 0; index < kept; index += 1) {
      if (this.#blocks[index].kind !== run.blocks[index].kind) {
        for (const view of this.#blocks.splice(index)) view.element.remove();
        break;
      }
    }
    run.blocks.forEach((block, index) => {
      if (!this.#blocks[index]) {
        this.#blocks[index] = new BLOCK_VIEWS[block.kind](block);
        this.#body.append(this.#blocks[index].element);
      }
      this.#blocks[index].update(block, run.isUnderWay && index === run.blocks.length - 1);
    });
    this.#showState(run);
  }

  #showState(run) {
    const text = stateOf(run);
    this.element.classList.toggle("running", run.isUnderWay);
    this.#body.hidden = run.blocks.length === 0;
    this.#actions.hidden = run.isUnderWay || run.text === "";
    this.#state.hidden = text === "";
    this.#state.classList.toggle(
      "bad",
      run.status === "error" || run.status === "timeout" || run.delivery?.status === "failed",
    );
    if (this.#state.textContent === text) return;
    this.#state.replaceChildren(
      run.isUnderWay ? make("span", { className: "busy", "aria-hidden": "true" }) : "",
      text,
    );
  }
}

/** The state of a run in a few words; empty if there is nothing to say. */
function stateOf({ phase, position, reason, status, blocks, hasAllSteps, delivery = {} }) {
  const because = reason ? `: ${reason}` : "";
  if (phase === "queued") return position > 1 ? `Waiting, ${position - 1} before it` : "Waiting, next";
  if (phase === "retrying") return `Asking the model again${because}`;
  if (phase === "compacting") return "Shortening the conversation";
  if (phase === "ended") {
    return (
      { cancelled: "Stopped", error: `Failed${because}`, timeout: `Took too long${because}` }[status] ??
      deliveryOf(delivery)
    );
  }
  if (!hasAllSteps) return "Working; all of it will be here when it is done";
  const last = blocks.at(-1);
  if (last?.kind === "tool" && !last.isEnded) return `Using ${last.name}`;
  return last?.kind === "thinking" ? "Thinking" : last?.kind === "text" ? "Writing" : "Working";
}

class TextBlock {
  kind = "text";
  #markdown = new MarkdownView();
  element = this.#markdown.element;

  update({ text }) {
    this.#markdown.update(text);
  }
}

class ErrorBlock {
  kind = "error";
  element = make("p", { className: "bad" });

  update({ text }) {
    this.element.textContent = text;
  }
}

class ThinkingBlock {
  kind = "thinking";
  #label = make("span", {});
  #text = make("div", { className: "thoughts" });
  element = make(
    "details",
    { className: "card" },
    make("summary", {}, icon("thought"), this.#label),
    this.#text,
  );

  update({ text }, isGrowing) {
    this.#label.textContent = isGrowing ? "Thinking" : "Thought";
    this.#text.textContent = text;
  }
}

class ToolBlock {
  kind = "tool";
  #label = make("span", {});
  #preview = make("code", {});
  #outcome = make("span", { className: "outcome" });
  #args = make("pre", { tabIndex: 0 });
  #result = make("pre", { tabIndex: 0 });
  #cut = make("p", { className: "hint" }, "Cut: it was longer.");
  element = make(
    "details",
    { className: "card" },
    make("summary", {}, icon("tool"), this.#label, this.#preview, this.#outcome),
    this.#args,
    this.#result,
    this.#cut,
  );

  update({ name, args, result, isEnded, isError, truncated }) {
    const text = args === undefined ? "" : typeof args === "string" ? args : JSON.stringify(args, null, 2);
    this.#label.textContent = name;
    this.#preview.textContent = previewOf(args).slice(0, TOOL_PREVIEW_MAX);
    this.#outcome.textContent = isError ? "failed" : isEnded ? "done" : "running";
    this.element.classList.toggle("failed", isError === true);
    this.#args.textContent = text;
    this.#args.hidden = text === "";
    this.#result.textContent = result ?? "";
    this.#result.hidden = !result;
    this.#cut.hidden = !truncated;
  }
}

/** The arguments of a tool in one line. */
function previewOf(args) {
  if (args === null || typeof args !== "object") return String(args ?? "");
  return Object.values(args)
    .filter((value) => typeof value !== "object")
    .join(" ")
    .replaceAll(/\s+/g, " ");
}

const BLOCK_VIEWS = { text: TextBlock, error: ErrorBlock, thinking: ThinkingBlock, tool: ToolBlock };
