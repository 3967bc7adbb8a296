// Linking a channel: the QR or the code that its app asks for, drawn in the page as it changes. Knows nothing of
// whether a channel may be linked.

import { button, byId, make } from "./dom.js";
import { channelName } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
/** Modules of white around a QR code, as its standard has it. */
const QUIET_ZONE = 4;

/** The dialog in which a channel is linked. */
export class Linking {
  #gateway;
  #channel;
  #dialog = byId("link-dialog");
  #body = byId("link-body");
  /** The login under way: its channel and method, and its last event. One that another has followed says nothing. */
  #login = { what: "", lastEvent: undefined };

  /** @param {import("./gateway.js").Gateway} gateway */
  constructor(gateway) {
    this.#gateway = gateway;
    byId("link-close").onclick = () => this.#dialog.close();
  }

  onChannel = (event) => {
    if (event.channel !== this.#channel) return;
    this.#login.lastEvent = event;
    if (this.#dialog.open) this.#show(event);
  };

  /** Asks how, then begins. */
  open(channel) {
    this.#channel = channel;
    byId("link-title").textContent = `Link ${channelName(channel)}`;
    const phone = make("input", {
      type: "tel",
      id: "link-phone",
      placeholder: "+15550001111",
      autocomplete: "tel",
    });
    this.#body.replaceChildren(
      make("p", {}, `Open ${channelName(channel)} on your phone, then Linked devices, then Link a device.`),
      make(
        "div",
        { className: "choices" },
        button("primary", "Show a QR code", () => this.#begin({})),
      ),
      make("label", { for: "link-phone" }, "Or with a code, for this phone number:"),
      make(
        "div",
        { className: "choices" },
        phone,
        button(
          "quiet",
          "Get a code",
          () => phone.value && this.#begin({ method: "code", phone: phone.value }),
        ),
      ),
    );
    this.#dialog.showModal();
  }

  async #begin(method) {
    const what = JSON.stringify([this.#channel, method]);
    if (what === this.#login.what) {
      // The dialog was closed for a while, and the login went on.
      return this.#login.lastEvent ? this.#show(this.#login.lastEvent) : this.#say("Asking for it");
    }
    const login = { what, lastEvent: undefined };
    const end = (...said) => {
      if (login !== this.#login) return;
      login.what = "";
      this.#say(...said);
    };
    this.#login = login;
    this.#say("Asking for it");
    try {
      await this.#gateway.request("channel-login", { channel: this.#channel, ...method }, () => {});
      end(`${channelName(this.#channel)} is linked.`, "good");
    } catch (error) {
      end(error.message, "bad");
    }
  }

  async #show({ state, qr, code, ttlMs, reason }) {
    if (qr) {
      const drawing = await qrCode(qr);
      this.#body.replaceChildren(drawing, make("p", {}, "Scan this with your phone. It renews itself."));
    } else if (code) {
      this.#body.replaceChildren(
        make("p", {}, "Type this on your phone:"),
        make("output", { className: "code-to-type" }, code),
        ttlMs ? make("p", { className: "hint" }, `It is good for ${Math.round(ttlMs / 1_000)} seconds.`) : "",
      );
    } else {
      this.#say(reason ? `${state}: ${reason}` : state);
    }
  }

  #say(text, className = "") {
    this.#body.replaceChildren(make("p", { className, role: "status" }, text));
  }
}

/**
 * A QR code, dark on light in both themes, as phones want it.
 * @param {string} text
 * @returns {Promise<SVGElement>}
 */
async function qrCode(text) {
  const { encode } = await import("./vendor/uqr.js");
  const { data, size } = encode(text, { border: QUIET_ZONE });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("class", "qr");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "QR code to scan with your phone");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute(
    "d",
    data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ""))).join(""),
  );
  svg.append(path);
  return svg;
}
