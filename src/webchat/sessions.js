// The list of sessions, and what can be done to the open one.

import { byId, confirmed, icon, make, place } from "./dom.js";
import { ago, momentOf, sessionSurface, sessionTitle } from "./format.js";
import { SESSIONS_PAGE, SESSIONS_REFRESH_MS } from "./limits.js";

export class Sessions {
  #gateway;
  #open;
  #failed;
  #current = "main";
  #sessions = new Map();
  /** Elements by key. */
  #entries = new Map();
  #unread = new Set();
  #before;
  #timer;

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {(key: string) => void} open shows another session
   * @param {() => void} changed the conversation under the open key is another one now
   * @param {(text: string) => void} failed shows why something did not work
   */
  constructor(gateway, open, changed, failed) {
    this.#gateway = gateway;
    this.#open = open;
    this.#failed = failed;
    byId("new-conversation").append(icon("fresh"));
    byId("forget-session").append(icon("forget"));
    gateway.on("hello", () => {
      byId("new-conversation").hidden = !gateway.offers("session-reset");
      byId("forget-session").hidden = !gateway.offers("session-forget");
    });
    byId("new-conversation").onclick = () => this.#reset(changed);
    byId("forget-session").onclick = () => this.#forget(changed);
    byId("more-sessions").onclick = () => this.#load(this.#before);
  }

  /** Says which session is open. */
  select(key) {
    this.#current = key;
    this.#unread.delete(key);
    this.#draw();
  }

  /** Something was said in a session; the list is asked for anew, once per burst. */
  touched(key) {
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
    place(
      byId("session-list"),
      sessions.map((session) => this.#entry(session)),
    );
    byId("more-sessions").hidden = !this.#before;
    byId("session-title").textContent = sessionTitle(this.#current);
    const { lastChannel, messages = 0 } = this.#sessions.get(this.#current) ?? {};
    const surface = sessionSurface(this.#current, lastChannel);
    byId("session-facts").textContent = [surface, messages === 1 ? "1 message" : `${messages} messages`]
      .filter(Boolean)
      .join(" \u00b7 ");
  }

  #entry({ sessionKey, updatedTs, messages, lastChannel }) {
    const surface = sessionSurface(sessionKey, lastChannel);
    const unread = this.#unread.has(sessionKey);
    const facts = [surface, updatedTs && ago(updatedTs)].filter(Boolean).join(" \u00b7 ");
    const entry = this.#entries.get(sessionKey) ?? this.#newEntry(sessionKey);
    const button = entry.firstElementChild;
    const [, when, news] = button.children;
    button.className = unread ? "session unread" : "session";
    button.title = updatedTs
      ? `${messages} messages, the last one ${momentOf(updatedTs)}`
      : "Nothing said yet";
    if (sessionKey === this.#current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    when.textContent = facts || "Nothing said yet";
    news.textContent = unread ? "new messages" : "";
    return entry;
  }

  #newEntry(sessionKey) {
    const entry = make(
      "li",
      {},
      make(
        "button",
        { type: "button", onclick: () => this.#open(sessionKey) },
        make("span", { className: "session-name" }, sessionTitle(sessionKey)),
        make("span", { className: "session-when" }),
        make("span", { className: "unseen" }),
      ),
    );
    this.#entries.set(sessionKey, entry);
    return entry;
  }

  async #reset(changed) {
    const title = sessionTitle(this.#current);
    if (
      !(await confirmed(
        "Begin a new conversation?",
        `The agent forgets what was said in ${title} so far. ` + "It stays on record.",
        "New conversation",
      ))
    )
      return;
    await this.#change("session-reset", changed);
  }

  async #forget(changed) {
    const title = sessionTitle(this.#current);
    if (
      !(await confirmed(
        `Forget ${title}?`,
        "Every record, file and picture of this session is deleted for good.",
        "Forget everything",
      ))
    )
      return;
    await this.#change("session-forget", changed);
  }

  async #change(method, changed) {
    const sessionKey = this.#current;
    try {
      await this.#gateway.request(method, { sessionKey });
    } catch (error) {
      this.#failed(error.message);
      return;
    }
    this.#sessions.delete(sessionKey);
    await changed(sessionKey);
    await this.refresh();
  }
}
