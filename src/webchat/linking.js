// The dialog in which a channel is linked: shows the QR code to scan or the code to type, each new one as it comes.
// Made by main.js; opened from the status panel, which knows whether a channel can be linked.

import { button, byId, drawing, make } from "./dom.js";
import { channelName } from "./format.js";

/** Modules of white around a QR code, as its standard has it. */
const QUIET_ZONE = 4;

/** The dialog in which a channel is linked. */
export class Linking {
  #gateway;
  #channel;
  #dialog = byId("link-dialog");
  #body = byId("link-body");
  /** The last login: its channel and method while it is under way, and its last `channel` event. */
  #login = { key: "", lastEvent: undefined };

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

  /** Opens the dialog, in which the person chooses between a QR code and a code to type. */
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
    const key = JSON.stringify([this.#channel, method]);
    if (key === this.#login.key) {
      // The dialog was closed for a while, and the login went on.
      return this.#login.lastEvent ? this.#show(this.#login.lastEvent) : this.#showText("Asking for it");
    }
    const login = { key, lastEvent: undefined };
    const end = (text, className) => {
      // Another login has taken its place.
      if (login !== this.#login) return;
      login.key = "";
      this.#showText(text, className);
    };
    this.#login = login;
    this.#showText("Asking for it");
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
      this.#showText(reason ? `${state}: ${reason}` : state);
    }
  }

  #showText(text, className = "") {
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
  const modules = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : "")));
  const label = "QR code to scan with your phone";
  return drawing(size, modules.join(""), { class: "qr", role: "img", "aria-label": label });
}
