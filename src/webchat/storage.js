// What the page remembers over a reload: for this tab (session) or for this browser (local), each under a name of its
// own. Storage may be switched off or full; then the page works and only forgets.

import { DRAFT_MAX } from "./limits.js";

const PREFIX = "clawdis.";

function read(storage, name) {
  try {
    return JSON.parse(window[storage].getItem(PREFIX + name) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

function write(storage, name, value) {
  try {
    if (value === undefined) window[storage].removeItem(PREFIX + name);
    else window[storage].setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** The token that was typed in this tab. */
export const token = {
  get: () => read("sessionStorage", "token"),
  set: (value) => write("sessionStorage", "token", value),
};

/** Prompts of this tab whose end is not known yet; `set` says whether they fitted. */
export const prompts = {
  get: () => read("sessionStorage", "outbox") ?? [],
  set: (all) => write("sessionStorage", "outbox", all),
};

/** The session that is open in this tab. */
export const openSession = {
  get: () => read("sessionStorage", "session") ?? "main",
  set: (key) => write("sessionStorage", "session", key),
};

/** The build that the page last reloaded itself for, so that it does so once. */
export const reloadedFor = {
  get: () => read("sessionStorage", "reloaded"),
  set: (build) => write("sessionStorage", "reloaded", build),
};

/** Text that was typed and not sent, by session. */
export const draft = {
  get: (session) => read("localStorage", `draft.${session}`) ?? "",
  set: (session, text) =>
    write("localStorage", `draft.${session}`, text ? text.slice(0, DRAFT_MAX) : undefined),
};

/** The thinking level that was chosen, by session; empty for the gateway's own. */
export const thinking = {
  get: (session) => read("localStorage", `thinking.${session}`) ?? "",
  set: (session, level) => write("localStorage", `thinking.${session}`, level || undefined),
};

/** Whether the status panel is open on a wide screen. */
export const panelOpen = {
  get: () => read("localStorage", "panel") ?? true,
  set: (open) => write("localStorage", "panel", open),
};

/** Id of this tab among the gateway's clients, made at first use. */
export function instanceId() {
  let id = read("sessionStorage", "instance");
  if (!id) {
    id = `webchat-${randomKey()}`;
    write("sessionStorage", "instance", id);
  }
  return id;
}

/** 128 random bits in hex; `crypto.randomUUID` needs a page from this machine or over TLS. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
