// What the gateway says of itself: health, presence, who was refused, what is to be mended. Kept up to date from
// the snapshot of `hello-ok` and the events after it. Knows nothing of how it looks.

/** Live copy of the gateway's state. */
export class Status {
  #gateway;
  #changed;
  #presence = new Map();
  /** As the last event, answer or snapshot had it. */
  health;
  /** Whether the agent is asked its prompt from time to time; unknown until `refresh`. */
  heartbeats;
  /** People who wrote and are not let in. */
  refused = [];
  /** What a person should mend: `{message}`. */
  warnings = [];

  /**
   * @param {import("./gateway.js").Gateway} gateway
   * @param {() => void} changed called when something here is another value
   */
  constructor(gateway, changed) {
    this.#gateway = gateway;
    this.#changed = changed;
  }

  onHello = ({ snapshot }) => {
    this.#setHealth(snapshot.health);
    this.#setPresence(snapshot.presence);
  };

  onHealth = ({ health }) => this.#setHealth(health);

  onPresence = ({ presence, removed }) => {
    for (const entry of presence) this.#presence.set(entry.instanceId, entry);
    for (const id of removed) this.#presence.delete(id);
    this.#changed();
  };

  /** Events were left out: what they may have told is asked for. */
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

  /** Asks for what no event tells: the heartbeats' switch, who was refused and what to mend. */
  async refresh() {
    const status = await this.#gateway.request("status").catch(() => undefined);
    if (!status) return;
    this.heartbeats = status.toggles.heartbeats;
    this.refused = status.refused;
    this.warnings = status.warnings ?? [];
    this.#setHealth(status.health);
  }

  #setHealth(health) {
    this.health = health;
    this.#changed();
  }

  #setPresence(entries) {
    this.#presence = new Map(entries.map((entry) => [entry.instanceId, entry]));
    this.#changed();
  }
}
