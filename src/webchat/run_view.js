// A run as an element while it streams and after: what the agent thinks, calls and says. Knows no gateway.

import { copyButton, icon, make } from "./dom.js";
import { momentOf, timeOf } from "./format.js";
import { TOOL_PREVIEW_MAX } from "./limits.js";
import { MarkdownView } from "./markdown.js";
import { deliveryOf } from "./message_view.js";

export class RunView {
  #revision;
  #parts = [];
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
    const kept = Math.min(this.#parts.length, run.parts.length);
    for (const view of this.#parts.splice(run.parts.length)) view.element.remove();
    for (let index = 0; index < kept; index += 1) {
      if (this.#parts[index].kind !== run.parts[index].kind) {
        for (const view of this.#parts.splice(index)) view.element.remove();
        break;
      }
    }
    run.parts.forEach((part, index) => {
      if (!this.#parts[index]) {
        this.#parts[index] = new PART_VIEWS[part.kind](part);
        this.#body.append(this.#parts[index].element);
      }
      this.#parts[index].update(part, run.isActive && index === run.parts.length - 1);
    });
    this.#showState(run);
  }

  #showState(run) {
    const text = stateOf(run);
    this.element.classList.toggle("running", run.isActive);
    this.#body.hidden = run.parts.length === 0;
    this.#actions.hidden = run.isActive || run.text === "";
    this.#state.hidden = text === "";
    this.#state.classList.toggle(
      "bad",
      run.status === "error" || run.status === "timeout" || run.delivery?.status === "failed",
    );
    if (this.#state.textContent === text) return;
    this.#state.replaceChildren(
      run.isActive ? make("span", { className: "busy", "aria-hidden": "true" }) : "",
      text,
    );
  }
}

/** The state of a run in a few words; empty if there is nothing to say. */
export function stateOf({ phase, position, reason, status, parts, isWhole, delivery = {} }) {
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
  if (!isWhole) return "Working; all of it will be here when it is done";
  const last = parts.at(-1);
  if (last?.kind === "tool" && !last.isEnded) return `Using ${last.name}`;
  return last?.kind === "thinking" ? "Thinking" : last?.kind === "text" ? "Writing" : "Working";
}

class TextPart {
  kind = "text";
  #markdown = new MarkdownView();
  element = this.#markdown.element;

  update({ text }) {
    this.#markdown.update(text);
  }
}

class ErrorPart {
  kind = "error";
  element = make("p", { className: "bad" });

  update({ text }) {
    this.element.textContent = text;
  }
}

class ThinkingPart {
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

class ToolPart {
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

const PART_VIEWS = { text: TextPart, error: ErrorPart, thinking: ThinkingPart, tool: ToolPart };
