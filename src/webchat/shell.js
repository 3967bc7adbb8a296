// The frame around the conversation: drawers, the connection's state, the token.

import { announce, byId, icon } from "./dom.js";
import { panelOpen, token } from "./storage.js";

/** Where the drawers stand beside the conversation instead of over it; layout.css has the same. */
const WIDE = { sessions: matchMedia("(min-width: 52rem)"), status: matchMedia("(min-width: 76rem)") };

/** The sessions on the left and the status on the right. */
export class Drawers {
  #onOpen;
  #open = { sessions: false, status: false };

  /** @param {(name: "sessions"|"status") => void} onOpen called when one becomes visible */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    for (const button of document.querySelectorAll("[data-close]")) {
      button.append(icon("close"));
      button.onclick = () => this.#set(button.dataset.close, false, true);
    }
    for (const button of document.querySelectorAll("[data-open]")) {
      if (button.classList.contains("icon-button")) button.append(icon("menu"));
      button.onclick = () => this.#set(button.dataset.open, !this.#open[button.dataset.open], true);
    }
    byId("shade").onclick = () => this.closeOverlays();
    document.addEventListener("keydown", ({ key }) => key === "Escape" && this.closeOverlays());
    for (const name of ["sessions", "status"]) WIDE[name].onchange = () => this.#settle(name);
    this.#settle("sessions");
    this.#settle("status");
  }

  /** Puts a drawer where it belongs on a screen of this width. */
  #settle(name) {
    this.#set(name, WIDE[name].matches && (name === "sessions" || panelOpen.get()), false);
  }

  /** Closes what lies over the conversation. */
  closeOverlays() {
    for (const name of ["sessions", "status"])
      if (this.#open[name] && !WIDE[name].matches) this.#set(name, false, true);
  }

  #set(name, open, byPerson) {
    const drawer = byId(name);
    this.#open[name] = open;
    drawer.classList.toggle("open", open);
    drawer.inert = !open;
    const opener = document.querySelector(`[data-open="${name}"]`);
    opener.setAttribute("aria-expanded", open);
    byId("shade").hidden = !["sessions", "status"].some((each) => this.#open[each] && !WIDE[each].matches);
    if (byPerson && name === "status" && WIDE.status.matches) panelOpen.set(open);
    if (open) this.#onOpen(name);
    if (!byPerson) return;
    if (open && !WIDE[name].matches) drawer.querySelector("button:not([hidden])").focus();
    else if (!open) opener.focus();
  }
}

/** Shows how the connection stands, in the pill and, if it is not well, in the banner. */
export class ConnectionView {
  #gateway;
  #timer;

  /** @param {import("./gateway.js").Gateway} gateway */
  constructor(gateway) {
    this.#gateway = gateway;
    gateway.on("phase", (phase) => this.#show(phase));
    gateway.on("health", ({ health }) => gateway.isOpen && this.#well(health));
    gateway.on("hello", ({ snapshot }) => this.#well(snapshot.health));
    // The gateway says so while the connection still stands.
    gateway.on("shutdown", ({ reason }) => this.#banner(`The gateway stops: ${reason}.`));
    byId("banner-action").onclick = () => gateway.dial();
  }

  #show(state) {
    clearInterval(this.#timer);
    const { phase } = state;
    const names = {
      connecting: "Connecting",
      open: "Connected",
      waiting: "Offline",
      token: "Token",
      refused: "Refused",
    };
    this.#pill(phase === "open" ? "good" : phase === "connecting" ? "" : "bad", names[phase]);
    if (phase === "open") {
      byId("banner").hidden = true;
      announce("Connected");
    } else if (phase === "waiting" || phase === "refused") {
      const write = () => this.#banner(away(state), true);
      write();
      this.#timer = setInterval(write, 1_000);
    }
  }

  #well({ ok, paused }) {
    this.#pill(paused ? "warn" : ok ? "good" : "warn", paused ? "Paused" : ok ? "Connected" : "Look here");
  }

  #pill(state, text) {
    byId("connection").dataset.state = state;
    byId("connection-text").textContent = text;
  }

  #banner(text, canDial = false) {
    byId("banner").hidden = false;
    byId("banner-text").textContent = text;
    byId("banner-action").hidden = !canDial;
    byId("banner-action").textContent = "Try now";
  }
}

/** A sentence on why there is no connection and when the next attempt comes. */
function away({ phase, reason, restart, stopped, retryTs }) {
  const seconds = Math.max(0, Math.ceil((retryTs - Date.now()) / 1_000));
  const next = seconds > 0 ? `in ${seconds} s` : "now";
  if (phase === "refused") return `The gateway refuses this page: ${reason}. Trying again ${next}.`;
  if (restart) return `The gateway restarts (${reason}); it is expected back ${next}.`;
  if (stopped) return `The gateway was stopped (${reason}). Trying again ${next}.`;
  return `No connection to the gateway${reason ? ` (${reason})` : ""}. Trying again ${next}.`;
}

/** Asks for the token when the gateway wants one, and only then. */
export function askForToken(gateway) {
  const dialog = byId("token-dialog");
  gateway.on("phase", ({ phase }) => {
    if (phase === "token") {
      byId("token-error").textContent = token.get() ? "The gateway does not take this token." : "";
      byId("token").value = "";
      byId("token").disabled = false;
      if (!dialog.open) dialog.showModal();
      byId("token").focus();
    } else if (phase === "open" && dialog.open) {
      dialog.close();
    }
  });
  // Without a token there is nothing behind it.
  dialog.oncancel = (event) => event.preventDefault();
  byId("token-form").onsubmit = (event) => {
    event.preventDefault();
    token.set(byId("token").value.trim());
    byId("token-error").textContent = "";
    byId("token").disabled = true;
    gateway.dial();
  };
}
