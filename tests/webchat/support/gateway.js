// Starts and ends the real daemon. Ends only what it started, by its handle.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { START_MS } from "./limits.js";

const REPOSITORY = path.resolve(import.meta.dirname, "../../..");
const TARGET = path.resolve(REPOSITORY, process.env.CARGO_TARGET_DIR ?? "target");
const BINARY = path.join(TARGET, "debug/clawdis-gateway");

/** Where screenshots go: outside of the repository's files. */
export const SHOTS = path.join(TARGET, "webchat");

/** The agent that does what its prompt orders: see tests/agents/scripted.py. */
export const SCRIPTED = JSON.stringify(["python3", path.join(REPOSITORY, "tests/agents/scripted.py")]);

/** A daemon on a folder of its own. */
export class Gateway {
  #folder = mkdtempSync(path.join(tmpdir(), "clawdis-webchat-"));
  #options;
  #child;
  #output = "";
  port = 0;

  /**
   * @param {object} options
   * @param {string} [options.agent] `builtin:echo` unless said otherwise
   * @param {object} [options.config]
   * @param {string[]} [options.args]
   * @param {string} [options.token]
   */
  constructor(options = {}) {
    this.#options = options;
    mkdirSync(this.probe);
  }

  /** Starts one and waits until it serves. */
  static async start(options) {
    const gateway = new Gateway(options);
    await gateway.start();
    return gateway;
  }

  /** Origin of the page. */
  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The token that it wants of its clients, if any. */
  get token() {
    return this.#options.token;
  }

  /** Where the scripted agent leaves its traces. */
  get probe() {
    return path.join(this.#folder, "probe");
  }

  /** Starts it, on the port that it had before if it had one. */
  async start() {
    const { agent = "builtin:echo", config = {}, args = [], token } = this.#options;
    const file = path.join(this.#folder, "config.json");
    writeFileSync(
      file,
      JSON.stringify({ ...config, agent: { sandbox: "none", passEnv: ["PROBE_DIR"], ...config.agent } }),
      { mode: 0o600 },
    );
    this.#child = spawn(
      BINARY,
      [
        "--port",
        `${this.port}`,
        "--state-dir",
        path.join(this.#folder, "state"),
        "--config",
        file,
        "--agent",
        agent,
        ...args,
      ],
      {
        stdio: ["ignore", "pipe", "pipe"],
        env: {
          PATH: process.env.PATH,
          HOME: this.#folder,
          PROBE_DIR: this.probe,
          ...(token ? { CLAWDIS_GATEWAY_TOKEN: token } : {}),
        },
      },
    );
    this.#child.stderr.on("data", (data) => {
      this.#output += data;
    });
    const lines = createInterface({ input: this.#child.stdout });
    lines.on("line", (line) => {
      this.#output += `${line}\n`;
    });
    const deadline = AbortSignal.timeout(START_MS);
    const [first] = await Promise.race([
      once(lines, "line", { signal: deadline }),
      once(this.#child, "exit").then(() => {
        throw new Error(`the gateway gave up:\n${this.#output}`);
      }),
    ]);
    this.port = Number(/^listening on ws:\/\/.*:(\d+)$/.exec(first)[1]);
  }

  /** Sends a signal and waits for its end. */
  async end(signal = "SIGKILL") {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = once(this.#child, "exit", { signal: AbortSignal.timeout(START_MS) });
      this.#child.kill(signal);
      await gone;
    }
  }

  /** Ends it and removes its folder. */
  async remove() {
    await this.end();
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** Lets the scripted agent go on behind `[[hold NAME]]`. */
  release(name) {
    writeFileSync(path.join(this.probe, `release-${name}`), "");
  }

  /** The order to the scripted agent to answer exactly this, whatever is in it. */
  answering(text) {
    const file = path.join(
      this.probe,
      `answer-${createHash("sha256").update(text).digest("hex").slice(0, 16)}`,
    );
    writeFileSync(file, text);
    return `[[sh cat ${file}]]`;
  }

  /** Prompts that the scripted agent was given. */
  get prompts() {
    const file = path.join(this.probe, "prompts");
    return existsSync(file)
      ? readFileSync(file, "utf8")
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line))
      : [];
  }

  /** Everything that it has written to stdout and stderr. */
  get log() {
    return this.#output;
  }
}
