// A gateway that answers as a test wants: serves the page's own files and sends golden frames. For what the real one
// does only with a channel, or at the wrong moment.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { WebSocketServer } from "ws";

const REPOSITORY = path.resolve(import.meta.dirname, "../../..");
const KINDS = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** A recorded frame of the real gateway. */
export function golden(name) {
  return JSON.parse(readFileSync(path.join(REPOSITORY, "tests/golden", `${name}.json`), "utf8"));
}

class Fake {
  #server = createServer((request, response) => this.#serve(request, response));
  #sockets = new WebSocketServer({ server: this.#server });
  #seq = 0;
  /** Hash that stands in the page's paths. */
  build = "one";
  /** `hello`s that came. */
  hellos = [];
  /** Requests that came: `{method, params, answer, fail}`. */
  requests = [];
  #handlers;
  #hello;

  /**
   * @param {Record<string, (params: object, answer: (payload: object) => void,
   *   fail: (error: object) => void) => void>} handlers by method; others get an empty answer
   * @param {(hello: object) => void} [hello] changes `hello-ok` before it is sent
   */
  constructor(handlers = {}, hello = () => {}) {
    this.#handlers = {
      "session-history": ({ sessionKey }, answer) => answer({ sessionKey, sessionId: "s-1", messages: [] }),
      "sessions-list": (params, answer) => answer({ sessions: [] }),
      status: (params, answer) => answer({ ...golden("res-status").payload }),
      health: (params, answer) => answer(golden("hello-ok").snapshot.health),
      "system-presence": (params, answer) => answer(golden("hello-ok").snapshot.presence),
      ...handlers,
    };
    this.#hello = hello;
    this.#sockets.on("connection", (socket) => this.#connected(socket));
  }

  /** Listens on a free port. */
  start() {
    return new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  #serve(request, response) {
    const { pathname } = new URL(request.url, this.url);
    const name = pathname === "/" ? "/index.html" : pathname.replace(`/webchat/${this.build}/`, "/");
    try {
      const body = readFileSync(path.join(REPOSITORY, "src/webchat", name), "utf8");
      response.setHeader("ETag", `W/"${this.build}"`);
      response.setHeader("Content-Type", KINDS[path.extname(name)]);
      response.end(body.replaceAll("VERSION", this.build).replaceAll("RELEASE", "0.1.0"));
    } catch {
      response.writeHead(404).end();
    }
  }

  #connected(socket) {
    this.#seq = 0;
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      if (frame.type === "hello") {
        this.hellos.push(frame);
        const hello = golden("hello-ok");
        hello.policy.tickIntervalMs = 30_000;
        hello.snapshot.health.ts = Date.now();
        this.#hello(hello);
        socket.send(JSON.stringify(hello));
        return;
      }
      const reply = (members) => socket.send(JSON.stringify({ type: "res", id: frame.id, ...members }));
      const answer = (payload) => reply({ ok: true, payload });
      const fail = (error, payload) => reply({ ok: false, error: { retryable: false, ...error }, payload });
      this.requests.push({ ...frame, answer, fail });
      (this.#handlers[frame.method] ?? ((params, done) => done({})))(frame.params ?? {}, answer, fail);
    });
  }

  /** Sends an event to every page, after `leftOut` events that are not sent. */
  event(event, payload, leftOut = 0) {
    this.#seq += 1 + leftOut;
    for (const socket of this.#sockets.clients) {
      socket.send(JSON.stringify({ type: "event", event, payload, seq: this.#seq }));
    }
  }

  /** Requests of one method. */
  asked(method) {
    return this.requests.filter((request) => request.method === method);
  }

  /** Cuts every connection, without closing it first. */
  cut() {
    for (const socket of this.#sockets.clients) socket.terminate();
  }

  async stop() {
    this.cut();
    this.#sockets.close();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Runs `body` with a fake made of `handlers` and `hello`, and stops it afterwards. */
export async function withFake(handlers, hello, body) {
  const fake = new Fake(handlers, hello);
  await fake.start();
  try {
    await body(fake);
  } finally {
    await fake.stop();
  }
}
