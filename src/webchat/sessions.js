// The list of sessions, which of them is open, and the buttons that reset or forget that one. Made by main.js; knows
// nothing of what is said in them.

import { byId, confirmed, icon, make, setChildren } from "./dom.js";
import { ago, momentOf, sessionChannel, sessionTitle } from "./format.js";
import { SESSIONS_PAGE, SESSIONS_REFRESH_MS } from "./limits.js";
import { openSession } from "./storage.js";

export class Sessions {
  #gateway;
  #actions;
  #current = openSession.get();
  /** Sessions by their key, as the gateway lists them. */
  #sessions = new Map();
  /** Elements of the list by session key. */
  #entries = new Map();
  /** Keys of sessions in which something was said since they were last open here. */
  #unread = new Set();
  /** Cursor of the next page of the list. */
  #before;
  #timer;

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {object} actions
   * @param {(key: string) => void} actions.open shows another session
   * @param {(key: string) => Promise<void>} actions.refresh asks for the history anew: it is another conversation now
   * @param {(text: string) => void} actions.showFailure says why something did not work
   */
  constructor(gateway, actions) {
    this.#gateway = gateway;
    this.#actions = actions;
    byId("new-conversation").append(icon("fresh"));
    byId("forget-session").append(icon("forget"));
    byId("new-conversation").onclick = () => this.#reset();
    byId("forget-session").onclick = () => this.#forget();
    byId("more-sessions").onclick = () => this.#load(this.#before);
  }

  onHello = () => {
    byId("new-conversation").hidden = !this.#gateway.offers("session-reset");
    byId("forget-session").hidden = !this.#gateway.offers("session-forget");
  };

  /** Key of the session that is open. */
  get current() {
    return this.#current;
  }

  /** Makes another session the open one. */
  select(key) {
    this.#current = key;
    openSession.set(key);
    this.#unread.delete(key);
    this.#draw();
  }

  /** Something was said in a session: it is unread unless it is open, and the list is soon asked for anew. */
  touch(key) {
    if (key !== this.#current) this.#unread.add(key);
    this.#timer ??= setTimeout(() => this.refresh(), SESSIONS_REFRESH_MS);
  }

  /** Asks for the newest page of the list. */
  async refresh() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#load();
  }

  async #load(before) {
    const page = await this.#gateway
      .request("sessions-list", {
        limit: SESSIONS_PAGE,
        ...(before ? { before } : {}),
      })
      .catch(() => undefined);
    if (!page) return;
    for (const session of page.sessions) this.#sessions.set(session.sessionKey, session);
    if (before || this.#sessions.size <= SESSIONS_PAGE) this.#before = page.before;
    this.#draw();
  }

  #draw() {
    const sessions = [...this.#sessions.values()].sort((one, other) => other.updatedTs - one.updatedTs);
    // The owner's own session and the open one are always there, also before anything was said.
    for (const key of ["main", this.#current]) {
      if (!sessions.some(({ sessionKey }) => sessionKey === key))
        sessions.unshift({ sessionKey: key, messages: 0 });
    }
    setChildren(
      byId("session-list"),
      sessions.map((session) => this.#entry(session)),
    );
    byId("more-sessions").hidden = !this.#before;
    byId("session-title").textContent = sessionTitle(this.#current);
    const { lastChannel, messages = 0 } = this.#sessions.get(this.#current) ?? {};
    const channel = sessionChannel(this.#current, lastChannel);
    byId("session-facts").textContent = [channel, messages === 1 ? "1 message" : `${messages} messages`]
      .filter(Boolean)
      .join(" \u00b7 ");
  }

  #entry({ sessionKey, updatedTs, messages, lastChannel }) {
    const channel = sessionChannel(sessionKey, lastChannel);
    const isUnread = this.#unread.has(sessionKey);
    const facts = [channel, updatedTs && ago(updatedTs)].filter(Boolean).join(" \u00b7 ");
    const entry = this.#entries.get(sessionKey) ?? this.#newEntry(sessionKey);
    const button = entry.firstElementChild;
    const [, when, unread] = button.children;
    button.className = isUnread ? "session unread" : "session";
    button.title = updatedTs
      ? `${messages} messages, the last one ${momentOf(updatedTs)}`
      : "Nothing said yet";
    if (sessionKey === this.#current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    when.textContent = facts || "Nothing said yet";
    unread.textContent = isUnread ? "new messages" : "";
    return entry;
  }

  #newEntry(sessionKey) {
    const entry = make(
      "li",
      {},
      make(
        "button",
        { type: "button", onclick: () => this.#actions.open(sessionKey) },
        make("span", { className: "session-name" }, sessionTitle(sessionKey)),
        make("span", { className: "session-when" }),
        make("span", { className: "unseen" }),
      ),
    );
    this.#entries.set(sessionKey, entry);
    return entry;
  }

  async #reset() {
    const title = sessionTitle(this.#current);
    if (
      !(await confirmed(
        "Begin a new conversation?",
        `The agent forgets what was said in ${title} so far. It stays on record.`,
        "New conversation",
      ))
    )
      return;
    await this.#change("session-reset");
  }

  async #forget() {
    const title = sessionTitle(this.#current);
    if (
      !(await confirmed(
        `Forget ${title}?`,
        "Every record, file and picture of this session is deleted for good.",
        "Forget everything",
      ))
    )
      return;
    await this.#change("session-forget");
  }

  async #change(method) {
    const sessionKey = this.#current;
    try {
      await this.#gateway.request(method, { sessionKey });
    } catch (error) {
      this.#actions.showFailure(error.message);
      return;
    }
    this.#sessions.delete(sessionKey);
    await this.#actions.refresh(sessionKey);
    await this.refresh();
  }
}
