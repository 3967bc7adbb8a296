// The frame around the conversation: the drawers at its sides, the state of the connection, the dialog for the token.
// Made by main.js; knows nothing of what is said.

import { announce, byId, icon } from "./dom.js";
import { COUNTDOWN_MS } from "./limits.js";
import { panelOpen, token } from "./storage.js";

/** Screens on which a drawer stands beside the conversation instead of over it; layout.css has the same widths. */
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
    for (const name of ["sessions", "status"]) WIDE[name].onchange = () => this.#fitToScreen(name);
    this.#fitToScreen("sessions");
    this.#fitToScreen("status");
  }

  /** Puts a drawer where it belongs on a screen of this width. */
  #fitToScreen(name) {
    this.#set(name, WIDE[name].matches && (name === "sessions" || panelOpen.get()), false);
  }

  /** Closes what lies over the conversation. */
  closeOverlays() {
    for (const name of ["sessions", "status"])
      if (this.#open[name] && !WIDE[name].matches) this.#set(name, false, true);
  }

  #set(name, isOpen, isByPerson) {
    const drawer = byId(name);
    this.#open[name] = isOpen;
    drawer.classList.toggle("open", isOpen);
    drawer.inert = !isOpen;
    const opener = document.querySelector(`[data-open="${name}"]`);
    opener.setAttribute("aria-expanded", isOpen);
    byId("shade").hidden = !["sessions", "status"].some((each) => this.#open[each] && !WIDE[each].matches);
    if (isByPerson && name === "status" && WIDE.status.matches) panelOpen.set(isOpen);
    if (isOpen) this.#onOpen(name);
    if (!isByPerson) return;
    if (isOpen && !WIDE[name].matches) drawer.querySelector("button:not([hidden])").focus();
    else if (!isOpen) opener.focus();
  }
}

/** Shows the state of the connection: in the pill at the top, and without a connection in the banner too. */
export class ConnectionView {
  #gateway;
  #timer;

  /** @param {import("./gateway.js").Gateway} gateway */
  constructor(gateway) {
    this.#gateway = gateway;
    byId("banner-action").onclick = () => gateway.dial();
  }

  onHello = ({ snapshot }) => this.#showHealth(snapshot.health);

  onHealth = ({ health }) => this.#gateway.isOpen && this.#showHealth(health);

  /** The gateway says so while the connection still stands. */
  onShutdown = ({ reason }) => this.#showBanner(`The gateway stops: ${reason}.`);

  onConnection = (connection) => {
    clearInterval(this.#timer);
    const { state } = connection;
    const names = {
      connecting: "Connecting",
      open: "Connected",
      waiting: "Offline",
      unauthorized: "Token",
      refused: "Refused",
    };
    this.#showPill(state === "open" ? "good" : state === "connecting" ? "" : "bad", names[state]);
    if (state === "open") {
      byId("banner").hidden = true;
      announce("Connected");
    } else if (state === "waiting" || state === "refused") {
      const draw = () => this.#showBanner(disconnectedText(connection), true);
      draw();
      this.#timer = setInterval(draw, COUNTDOWN_MS);
    }
  };

  #showHealth({ ok, paused }) {
    this.#showPill(
      paused ? "warn" : ok ? "good" : "warn",
      paused ? "Paused" : ok ? "Connected" : "Look here",
    );
  }

  #showPill(state, text) {
    byId("connection").dataset.state = state;
    byId("connection-text").textContent = text;
  }

  #showBanner(text, canDial = false) {
    byId("banner").hidden = false;
    byId("banner-text").textContent = text;
    byId("banner-action").hidden = !canDial;
    byId("banner-action").textContent = "Try now";
  }
}

/** A sentence on why there is no connection and when the next attempt comes. */
function disconnectedText({ state, reason, restart, stopped, retryTs }) {
  const seconds = Math.max(0, Math.ceil((retryTs - Date.now()) / 1_000));
  const next = seconds > 0 ? `in ${seconds} s` : "now";
  if (state === "refused") return `The gateway refuses this page: ${reason}. Trying again ${next}.`;
  if (restart) return `The gateway restarts (${reason}); it is expected back ${next}.`;
  if (stopped) return `The gateway was stopped (${reason}). Trying again ${next}.`;
  return `No connection to the gateway${reason ? ` (${reason})` : ""}. Trying again ${next}.`;
}

/** Asks for the token when the gateway wants one, and only then. */
export class TokenDialog {
  #dialog = byId("token-dialog");
  #field = byId("token");

  /** @param {import("./gateway.js").Gateway} gateway */
  constructor(gateway) {
    // It cannot be closed: without a token the page has nothing to show.
    this.#dialog.oncancel = (event) => event.preventDefault();
    byId("token-form").onsubmit = (event) => {
      event.preventDefault();
      token.set(this.#field.value.trim());
      byId("token-error").textContent = "";
      this.#field.disabled = true;
      gateway.dial();
    };
  }

  onConnection = ({ state }) => {
    if (state === "unauthorized") this.#ask();
    else if (state === "open" && this.#dialog.open) this.#dialog.close();
  };

  #ask() {
    byId("token-error").textContent = token.get() ? "The gateway does not take this token." : "";
    this.#field.value = "";
    this.#field.disabled = false;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#field.focus();
  }
}
