// The status panel: what is well and what is not, who is here, and the switches. Made by main.js. Draws what
// status.js knows, of which it keeps nothing, and asks the gateway for what the person changes.

import { button, byId, confirmed, make } from "./dom.js";
import { ago, bytes, channelName, duration, momentOf } from "./format.js";
import { PANEL_REFRESH_MS } from "./limits.js";

/** Whether a channel's state is good; of the states that are not here it cannot be said. */
const WELL = { ready: true, closed: false, failing: false, unavailable: false, unlinked: false };

/** Names of the panel's sections, from top to bottom. */
const SECTIONS = ["pause", "warnings", "gateway", "agent", "channels", "beats", "presence", "refused"];

export class StatusPanel {
  #gateway;
  #status;
  #actions;
  #instanceId;
  /** Switches by their name. */
  #switches = new Map();
  /** Elements of the sections by their name. */
  #sections = {};

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {import("./status.js").Status} status
   * @param {string} instanceId this page's `instanceId`
   * @param {object} actions
   * @param {(channel: string) => void} actions.link begins to link a channel
   * @param {(text: string) => void} actions.showFailure says why something did not work
   */
  constructor(gateway, status, instanceId, actions) {
    this.#gateway = gateway;
    this.#status = status;
    this.#instanceId = instanceId;
    this.#actions = actions;
    this.#build();
    setInterval(() => !document.hidden && this.refresh(), PANEL_REFRESH_MS);
  }

  /** Asks for what no event tells, if the panel can be seen. */
  refresh() {
    if (!byId("status").inert && this.#gateway.isOpen) this.#status.refresh();
  }

  #build() {
    for (const name of SECTIONS) {
      this.#sections[name] = make("section", { className: `card-${name}` });
    }
    byId("panel").append(...Object.values(this.#sections));
    this.#sections.pause.append(
      make("button", { type: "button", id: "pause", onclick: () => this.#togglePause() }),
      make("p", { id: "pause-text", className: "hint" }),
    );
    this.#sections.beats.append(
      make("h3", {}, "Heartbeats"),
      this.#switch("heartbeats", "Ask the agent its prompt from time to time", (enabled) =>
        this.#attempt(() => this.#status.setHeartbeats(enabled)),
      ),
    );
  }

  /** Draws everything that is known by now. */
  draw() {
    if (!this.#status.health || !this.#gateway.hello) return;
    this.#drawPause();
    this.#drawWarnings();
    this.#drawGateway();
    this.#drawAgent();
    this.#drawChannels();
    this.#setSwitch("heartbeats", this.#status.heartbeats);
    this.#sections.beats.hidden = this.#status.heartbeats === undefined;
    this.#drawPresence();
    this.#drawRefused();
  }

  #drawPause() {
    const { paused } = this.#status.health;
    const toggle = byId("pause");
    toggle.textContent = paused ? "Resume" : "Pause everything";
    toggle.className = paused ? "resume" : "pause";
    byId("pause-text").textContent = paused
      ? "Nothing runs and nothing is sent until you resume."
      : "Ends what the agent does and stops every channel, until you resume.";
  }

  #drawGateway() {
    const { server, snapshot } = this.#gateway.hello;
    const { storage, ok } = this.#status.health;
    const upSince = snapshot.health.ts - snapshot.uptimeMs;
    this.#sections.gateway.replaceChildren(
      make("h3", {}, "Gateway"),
      facts([
        ["State", ok ? "All good" : "Something needs you", ok],
        ["Version", `${server.version} on ${server.host}`],
        ["Up for", duration(Date.now() - upSince)],
        [
          "Storage",
          storage.ok ? `${bytes(storage.usedBytes)}, ${bytes(storage.freeBytes)} free` : storage.reason,
          storage.ok ? undefined : false,
        ],
      ]),
    );
  }

  #drawAgent() {
    const { state, active, queued, sandbox, sandboxReason, reason } = this.#status.health.agent;
    this.#sections.agent.replaceChildren(
      make("h3", {}, "Agent"),
      facts([
        ["State", state, !["failing", "unconfigured"].includes(state)],
        ["Running", `${active}, ${queued} waiting`],
        ["Sandbox", sandbox === "bwrap" ? "bubblewrap" : "none", sandbox === "none" ? undefined : true],
      ]),
      hints(reason, sandboxReason),
    );
  }

  #drawChannels() {
    const cards = this.#sections.channels;
    const { channels } = this.#status.health;
    if (cards.childElementCount === 0)
      cards.append(...Object.keys(channels).map((name) => this.#channelCard(name)));
    for (const [name, channel] of Object.entries(channels)) this.#drawChannel(name, channel);
  }

  #channelCard(name) {
    return make(
      "div",
      { className: "channel", id: `channel-${name}` },
      make("h3", {}, channelName(name)),
      this.#switch(name, `${channelName(name)} is switched on`, (enabled) =>
        this.#attempt(() => this.#gateway.request("set-channel", { channel: name, enabled })),
      ),
      make("div", { className: "facts" }),
      make("div", { className: "actions" }),
    );
  }

  #drawChannel(name, channel) {
    const { configured, enabled, state, reason, linked, self, lastFrameTs, lastMessageTs } = channel;
    this.#setSwitch(name, enabled);
    const [, , rows, actions] = byId(`channel-${name}`).children;
    rows.replaceChildren(
      facts([
        ["Set up", yesNo(configured)],
        ["State", state, enabled && configured ? WELL[state] : undefined],
        ["Linked", linked === undefined ? undefined : yesNo(linked)],
        ["Account", self],
        ["Last sign of life", lastFrameTs && ago(lastFrameTs)],
        ["Last message", lastMessageTs && ago(lastMessageTs)],
      ]),
      hints(reason),
    );
    const isOn = name === "whatsapp" && enabled && configured;
    const canLink = isOn && !linked && this.#gateway.offers("channel-login");
    const canUnlink = name === "whatsapp" && linked && this.#gateway.offers("channel-logout");
    if (actions.dataset.state === `${canLink} ${canUnlink}`) return;
    actions.dataset.state = `${canLink} ${canUnlink}`;
    actions.replaceChildren(
      canLink ? button("primary", "Link", () => this.#actions.link(name)) : "",
      canUnlink ? button("quiet", "Unlink", () => this.#unlink(name)) : "",
    );
  }

  #drawPresence() {
    const entries = this.#status.presence.sort(
      (one, other) =>
        Number(isGone(one)) - Number(isGone(other)) ||
        (one.mode === "gateway" ? -1 : other.mode === "gateway" ? 1 : other.ts - one.ts),
    );
    this.#sections.presence.replaceChildren(
      make("h3", {}, "Who is here"),
      make("ul", { className: "presence" }, ...entries.map((entry) => presenceItem(entry, this.#instanceId))),
    );
  }

  #drawWarnings() {
    const { warnings } = this.#status;
    this.#sections.warnings.hidden = warnings.length === 0;
    // Drawn anew only if it has changed: somebody may be copying a command out of it.
    const state = JSON.stringify(warnings);
    if (this.#sections.warnings.dataset.state === state) return;
    this.#sections.warnings.dataset.state = state;
    this.#sections.warnings.replaceChildren(
      make("h3", {}, "To be mended"),
      make("ul", {}, ...warnings.map(({ message }) => make("li", {}, message))),
    );
  }

  #drawRefused() {
    const { refused } = this.#status;
    this.#sections.refused.hidden = refused.length === 0;
    // Drawn anew only if it has changed: a button that somebody is about to press must stay the same one.
    const state = JSON.stringify(refused.map((person) => [person, ago(person.lastTs)]));
    if (this.#sections.refused.dataset.state === state) return;
    this.#sections.refused.dataset.state = state;
    this.#sections.refused.replaceChildren(
      make("h3", {}, "Not allowed yet"),
      make(
        "p",
        { className: "hint" },
        "They wrote and got no answer. Whoever you let in commands a shell with your rights, within the sandbox's walls.",
      ),
      make("ul", { className: "presence" }, ...refused.map((person) => this.#refusedItem(person))),
    );
  }

  #refusedItem({ channel, id, name, count, lastTs }) {
    const attempts = [channelName(channel), `${count} \u00d7`, ago(lastTs)].join(" \u00b7 ");
    return make(
      "li",
      {},
      make("span", { className: "name" }, name && make("bdi", {}, name), name ? ` (${id})` : id),
      make("span", { className: "hint" }, attempts),
      this.#gateway.offers("channel-allow") &&
        make(
          "div",
          { className: "actions" },
          button("quiet", "Allow", () => this.#allow({ channel, id })),
          button("quiet", "It is me", () => this.#allow({ channel, id, owner: true })),
        ),
    );
  }

  async #allow(params) {
    await this.#attempt(() => this.#gateway.request("channel-allow", params));
    await this.#status.refresh();
  }

  /** A switch; `set(isOn)` is called when it is turned. */
  #switch(name, label, set) {
    const toggle = make(
      "button",
      {
        type: "button",
        className: "switch",
        role: "switch",
        "aria-checked": "false",
        onclick: () => set(toggle.getAttribute("aria-checked") !== "true"),
      },
      make("span", { className: "knob" }),
      make("span", {}, label),
    );
    this.#switches.set(name, toggle);
    return toggle;
  }

  #setSwitch(name, isOn) {
    this.#switches.get(name).setAttribute("aria-checked", isOn === true);
  }

  /** Makes a change, or says why it could not be made. */
  async #attempt(change) {
    try {
      await change();
    } catch (error) {
      this.#actions.showFailure(error.message);
    }
  }

  #togglePause() {
    this.#attempt(() => this.#status.setPaused(!this.#status.health.paused));
  }

  async #unlink(channel) {
    if (
      !(await confirmed(
        `Unlink ${channelName(channel)}?`,
        "The gateway signs out there. Linking it again needs your phone.",
        "Unlink",
      ))
    )
      return;
    await this.#attempt(() => this.#gateway.request("channel-logout", { channel }, () => {}));
  }
}

const yesNo = (value) => (value ? "Yes" : "No");
const isGone = ({ reason }) => reason === "disconnect";

/** A list of names and values; rows without a value are left out. Whether a value is good or bad gives it a colour. */
function facts(rows) {
  return make(
    "dl",
    {},
    ...rows
      .filter(([, value]) => value !== undefined)
      .flatMap(([name, value, good]) => [
        make("dt", {}, name),
        make("dd", { className: good === true ? "good" : good === false ? "bad" : "" }, value),
      ]),
  );
}

/** Lines below the facts of a section; texts that are missing are left out. */
function hints(...texts) {
  const shown = texts.filter(Boolean).map((text) => make("p", { className: "hint" }, text));
  return shown.length > 0 ? make("div", {}, ...shown) : "";
}

function presenceItem(entry, instanceId) {
  const { host, ip, version, mode, reason, ts, lastInputSeconds, tags } = entry;
  const details = [
    mode,
    version,
    ip,
    lastInputSeconds !== undefined && `idle ${duration(lastInputSeconds * 1_000)}`,
    ...(tags ?? []),
    isGone(entry) ? `left ${ago(ts)}` : ago(ts),
  ];
  return make(
    "li",
    { className: isGone(entry) ? "gone" : "", title: `${reason ?? ""} ${momentOf(ts)}`.trim() },
    make("span", { className: "name" }, entry.instanceId === instanceId ? `${host} (this page)` : host),
    make("span", { className: "hint" }, details.filter(Boolean).join(" \u00b7 ")),
  );
}
