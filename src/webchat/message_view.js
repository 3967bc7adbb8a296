// One message as an element: of a person, of the agent, of a tool or of the gateway. Made by the conversation; knows
// nothing of the connection.

import { button, copyButton, icon, iconButton, make } from "./dom.js";
import { bytes, channelName, momentOf, timeOf } from "./format.js";
import { MarkdownView } from "./markdown.js";

/** Name of this page as a client of the gateway; messages from it are shown as "You". */
export const OWN_NAME = "clawdis-webchat";
/** What clients are called where a message came from; the page itself is not named. */
const CLIENTS = { [OWN_NAME]: "", clawdis: "CLI" };

/** The line above a message: who wrote it, from where and when. */
function head(name, origin, ts) {
  return make(
    "div",
    { className: "who" },
    make("span", { className: "name" }, name),
    origin && make("span", { className: "origin" }, origin),
    make("time", { dateTime: new Date(ts).toISOString(), title: momentOf(ts) }, timeOf(ts)),
  );
}

/** Where a message came from: a channel, with the person there, or another client than this page. */
function originOf({ channel, from }) {
  if (channel) return from ? `${channelName(channel)} \u00b7 ${from}` : channelName(channel);
  return from === undefined ? "" : (CLIENTS[from] ?? from);
}

/** An element of the conversation; `update(value)` draws it anew if what is shown of the value has changed. */
class View {
  #drawn;

  constructor(className) {
    this.element = make("li", { className: `item ${className}` });
  }

  update(value) {
    const state = this.stateOf(value);
    if (state === this.#drawn) return;
    this.#drawn = state;
    this.draw(value);
  }

  /** What of the value is shown, as text. */
  stateOf(value) {
    return JSON.stringify(value);
  }
}

/** A message on record. */
export class RecordView extends View {
  #reuse;

  /** @param {(text: string) => void} reuse puts a text into the composer */
  constructor(message, reuse) {
    super({ user: "user", assistant: "agent", note: "gateway", tool: "agent" }[message.role]);
    this.#reuse = reuse;
  }

  draw(message) {
    const { role, text, ts, truncated, media } = message;
    const names = { user: "You", assistant: "Agent", note: "Gateway", tool: "Tool" };
    const body = {
      user: () => make("div", { className: "text" }, text),
      assistant: () => new MarkdownView(text).element,
      note: () => make("div", { className: "text" }, text),
      tool: () =>
        make(
          "details",
          { className: "card" },
          make("summary", {}, icon("tool"), "Output of a tool"),
          make("pre", { tabIndex: 0 }, text),
        ),
    }[role]();
    this.element.replaceChildren(
      head(role === "user" && message.channel ? "" : names[role], originOf(message), ts),
      bubble(body, media, truncated),
      deliveryLine(message),
      actions(text, role === "user" && this.#reuse),
    );
  }
}

/** What was said, with its files. */
const bubble = (body, media, truncated) =>
  make(
    "div",
    { className: "bubble" },
    body,
    ...(media ?? []).map(fileLine),
    truncated && make("p", { className: "hint" }, "Cut: it was longer."),
  );

function actions(text, reuse) {
  return make(
    "div",
    { className: "actions" },
    copyButton("Copy message", () => text),
    reuse && iconButton("again", "Write again", () => reuse(text)),
  );
}

const PROMPT_STATES = {
  waiting: "Waits for the connection",
  sending: "Sending",
  accepted: "",
  ended: "",
  failed: "Not sent",
};

/** A prompt of this page, with its state. */
export class PromptView extends View {
  #prompts;
  #previews;
  #reuse;

  /**
   * @param {{retry: (key: string) => void, discard: (key: string) => void}} prompts
   * @param {string[]} previews URLs of its pictures
   * @param {(text: string) => void} reuse puts a text into the composer
   */
  constructor(prompts, previews, reuse) {
    super("user");
    this.#prompts = prompts;
    this.#previews = previews;
    this.#reuse = reuse;
  }

  stateOf({ state, error, record, ts }) {
    return JSON.stringify([state, error, record?.id, ts]);
  }

  draw({ key, params, ts, state, error, record }) {
    const isFailed = state === "failed" && !record;
    const count = params.attachments?.length ?? 0;
    this.element.classList.toggle("failed", isFailed);
    this.element.classList.toggle("pending", !record && !isFailed);
    this.element.replaceChildren(
      head("You", "", record?.ts ?? ts),
      make(
        "div",
        { className: "bubble" },
        make("div", { className: "text" }, params.message),
        this.#previews.length > 0
          ? make(
              "div",
              { className: "shots" },
              ...this.#previews.map((src) => make("img", { src, alt: "A picture that you sent" })),
            )
          : count > 0 && make("p", { className: "hint" }, count === 1 ? "1 picture" : `${count} pictures`),
      ),
      this.#stateLine(key, record ? "" : PROMPT_STATES[state], isFailed, error),
      isFailed ? "" : actions(params.message, this.#reuse),
    );
  }

  #stateLine(key, state, isFailed, error) {
    if (!state) return "";
    return make(
      "p",
      { className: isFailed ? "bad below" : "below" },
      isFailed ? `${state}: ${error} ` : state,
      isFailed && button("quiet", "Retry", () => this.#prompts.retry(key)),
      isFailed && button("quiet", "Discard", () => this.#prompts.discard(key)),
    );
  }
}

const DELIVERY = { failed: "Not delivered", unknown: "Perhaps delivered", queued: "Queued" };

/** What became of a message on its channel; empty if it was delivered as it should. */
export function deliveryOf({ status, reason }) {
  return DELIVERY[status] ? DELIVERY[status] + (reason ? `: ${reason}` : "") : "";
}

function deliveryLine(message) {
  const text = deliveryOf(message);
  return text && make("p", { className: message.status === "failed" ? "bad below" : "below" }, text);
}

/** A message that came in or went out on a channel, and is on no record that the page has. */
export class ChannelMessageView extends View {
  constructor({ direction }) {
    super(direction === "in" ? "user" : "agent");
  }

  draw(event) {
    const { direction, channel, from, to, text, truncated, media, ts } = event;
    const origin = originOf({ channel, from: direction === "in" ? from : to });
    // Not as Markdown: its marks are the channel's own, and it may quote what others wrote.
    const body = make("div", { className: "text" }, text);
    this.element.replaceChildren(
      head(direction === "in" ? "" : "Agent", origin, ts),
      bubble(body, media, truncated),
      deliveryLine(event),
      actions(text),
    );
  }
}

function fileLine({ kind, name, mimeType, bytes: size }) {
  return make("p", { className: "hint" }, `${name ?? kind} (${mimeType}, ${bytes(size)})`);
}

/** A line between two days. */
export class DayView {
  constructor() {
    this.element = make("li", { className: "day" });
  }

  update(text) {
    this.element.textContent = text;
  }
}
