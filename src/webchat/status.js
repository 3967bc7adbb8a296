// What the gateway says of itself: health, presence, who was refused, what a person should mend; kept up to date from
// the snapshot of `hello-ok` and the events after it. Made by main.js; drawn by status_panel.js.

/** A live copy of the gateway's state. */
export class Status {
  #gateway;
  #onChange;
  /** Entries of presence by their `instanceId`. */
  #presence = new Map();
  /** As the last event, answer or snapshot had it; undefined before the first one. */
  health;
  /** Whether heartbeats are switched on; undefined before the first `refresh`. */
  heartbeats;
  /** People who wrote and are not allowed to. */
  refused = [];
  /** What a person should mend: `{message}`. */
  warnings = [];

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {() => void} onChange called when something here has changed
   */
  constructor(gateway, onChange) {
    this.#gateway = gateway;
    this.#onChange = onChange;
  }

  onHello = ({ snapshot }) => {
    this.#setHealth(snapshot.health);
    this.#setPresence(snapshot.presence);
  };

  onHealth = ({ health }) => this.#setHealth(health);

  onPresence = ({ presence, removed }) => {
    for (const entry of presence) this.#presence.set(entry.instanceId, entry);
    for (const id of removed) this.#presence.delete(id);
    this.#onChange();
  };

  /** Events were left out: asks for everything that they may have told. */
  onGap = () => {
    this.#gateway.request("health").then(
      (health) => this.#setHealth(health),
      () => {},
    );
    this.#gateway.request("system-presence").then(
      (entries) => this.#setPresence(entries),
      () => {},
    );
  };

  /** Runs that wait or work, in all sessions. */
  get runsUnderWay() {
    const { active = 0, queued = 0 } = this.health?.agent ?? {};
    return active + queued;
  }

  /** Entries of everybody who is here or was lately. */
  get presence() {
    return [...this.#presence.values()];
  }

  /** Asks for what no event tells: whether heartbeats are on, who was refused and what a person should mend. */
  async refresh() {
    const status = await this.#gateway.request("status").catch(() => undefined);
    if (!status) return;
    this.heartbeats = status.toggles.heartbeats;
    this.refused = status.refused;
    this.warnings = status.warnings ?? [];
    this.#setHealth(status.health);
  }

  /** Pauses everything or lets it run again; rejects if the gateway does not. */
  async setPaused(paused) {
    await this.#gateway.request("set-paused", { paused });
    this.#setHealth({ ...this.health, paused });
  }

  /** Switches heartbeats; rejects if the gateway does not. */
  async setHeartbeats(enabled) {
    await this.#gateway.request("set-heartbeats", { enabled });
    this.heartbeats = enabled;
    this.#onChange();
  }

  #setHealth(health) {
    this.health = health;
    this.#onChange();
  }

  #setPresence(entries) {
    this.#presence = new Map(entries.map((entry) => [entry.instanceId, entry]));
    this.#onChange();
  }
}
