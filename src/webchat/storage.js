// What the page remembers: for this tab (session) or for this browser (local). Storage may be
// switched off or full; then the page works and only forgets.

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

/** Prompts that were sent and are not known to have ended, in this tab. */
export const outbox = {
  get: () => read("sessionStorage", "outbox") ?? [],
  set: (entries) => write("sessionStorage", "outbox", entries),
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

/** The thinking level that was chosen, by session; empty: the gateway's. */
export const thinking = {
  get: (session) => read("localStorage", `thinking.${session}`) ?? "",
  set: (session, level) => write("localStorage", `thinking.${session}`, level || undefined),
};

/** Whether the status panel is open on a wide screen. */
export const panelOpen = {
  get: () => read("localStorage", "panel") ?? true,
  set: (open) => write("localStorage", "panel", open),
};

/** The same for this tab over reloads and reconnects. */
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
