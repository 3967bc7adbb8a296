// The connection to the gateway: one WebSocket to the page's own origin, dialled again for as long as the page lives.
// Speaks protocol 1. Made by main.js, and given to whatever sends requests. Knows nothing of what is shown, and keeps
// nothing of what events tell.

import {
  CLIENT_TEXT_MAX,
  CONNECT_MS,
  RECONNECT_JITTER,
  RECONNECT_MAX_MS,
  RECONNECT_MIN_MS,
  REQUEST_MS,
  SILENCE_SLACK_MS,
  SILENT_TICKS,
} from "./limits.js";

/** The gateway answered a request with an error. */
export class RequestError extends Error {
  /**
   * @param {{code: string, message: string, retryable: boolean, details?: object}} error
   * @param {object} [payload] of the same answer
   */
  constructor(error, payload) {
    super(error.message);
    Object.assign(this, { code: error.code, retryable: error.retryable, details: error.details, payload });
  }
}

/** There is no connection, or it ended before the answer came. */
export class Disconnected extends Error {
  constructor() {
    super("not connected to the gateway");
  }
}

/**
 * Emits `connection` (`{state: "connecting"|"open"|"waiting"|"unauthorized"|"refused"}`; with `waiting` and `refused`
 * also `reason` and `retryTs`, and `stopped` and `restart` if the gateway said so before), `hello` (at each
 * `hello-ok`, with that), `gap` (events were left out) and each event of the gateway by its name (payload,
 * stateVersion).
 */
export class Gateway {
  #url;
  #client;
  #token;
  #socket;
  /** Listeners by the name of what they listen for. */
  #listeners = new Map();
  /** Requests that wait for their last answer, by id: `{resolve, reject, onAck, timer}`. */
  #pending = new Map();
  /** Id of the last request. */
  #lastId = 0;
  /** Attempts to connect since the last `hello-ok`. */
  #attempts = 0;
  /** Ends an attempt that takes too long, or makes the next one. */
  #timer;
  #watchdog;
  /** When the last frame came, by `performance.now()`. */
  #lastFrameMs = 0;
  /** `seq` of the last event; the next one has one more, unless events were left out. */
  #seq = 0;
  /** The `hello-error` of the present connection, if it came. */
  #helloError;
  /** Payload of its `shutdown` event, if that came. */
  #shutdown;
  /** Whether the next attempt waits for its time. */
  #isWaiting = false;
  #clockAheadMs = 0;
  /** The last `hello-ok`; kept over a disconnect. */
  hello;
  /** Whether requests can be sent. */
  isOpen = false;

  /**
   * @param {string} url
   * @param {object} client the `client` member of `hello`
   * @param {() => (string|undefined)} token asked for at each dialling
   */
  constructor(url, client, token) {
    this.#url = url;
    this.#client = client;
    this.#token = token;
  }

  /** Now by the gateway's clock, in ms: what it sends is dated by that, so the page's own prompts are too. */
  now() {
    return Date.now() + this.#clockAheadMs;
  }

  /** Calls `listener` at each event of this name. */
  on(name, listener) {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }

  #emit(name, ...values) {
    for (const listener of this.#listeners.get(name) ?? []) listener(...values);
  }

  /** Whether this gateway answers the method. */
  offers(method) {
    return this.hello?.features.methods.includes(method) ?? false;
  }

  /** Dials now, unless connected. */
  dial() {
    if (this.isOpen) return;
    clearTimeout(this.#timer);
    this.#disconnect();
    this.#helloError = this.#shutdown = undefined;
    this.#isWaiting = false;
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => socket.send(JSON.stringify(this.#helloFrame()));
    socket.onmessage = ({ data }) => socket === this.#socket && this.#onFrame(JSON.parse(data));
    socket.onclose = ({ reason }) => socket === this.#socket && this.#onLost(reason);
    this.#timer = setTimeout(() => this.#onLost("the gateway did not answer"), CONNECT_MS);
    this.#emit("connection", { state: "connecting" });
  }

  /** Dials now if the next attempt waits for its time: a person looks at the page again. */
  dialIfWaiting() {
    if (this.#isWaiting) this.dial();
  }

  #helloFrame() {
    const token = this.#token();
    return {
      type: "hello",
      minProtocol: 1,
      maxProtocol: 1,
      client: this.#client,
      ...(token ? { auth: { token } } : {}),
      locale: navigator.language.slice(0, CLIENT_TEXT_MAX),
      userAgent: navigator.userAgent.slice(0, CLIENT_TEXT_MAX),
    };
  }

  #onFrame(frame) {
    this.#lastFrameMs = performance.now();
    if (frame.type === "event") this.#onEvent(frame);
    else if (frame.type === "res") this.#onAnswer(frame);
    else if (frame.type === "hello-ok") this.#onHello(frame);
    else if (frame.type === "hello-error") this.#helloError = frame;
  }

  #onHello(hello) {
    clearTimeout(this.#timer);
    this.#attempts = 0;
    this.#seq = 0;
    this.hello = hello;
    this.#clockAheadMs = hello.snapshot.health.ts - Date.now();
    this.isOpen = true;
    this.#watch();
    this.#emit("connection", { state: "open" });
    this.#emit("hello", hello);
  }

  #onEvent({ event, payload, seq, stateVersion }) {
    const hasGap = seq !== this.#seq + 1;
    this.#seq = seq;
    if (event === "shutdown") this.#shutdown = payload;
    this.#emit(event, payload, stateVersion);
    if (hasGap) this.#emit("gap");
  }

  #onAnswer({ id, ok, payload, error }) {
    const request = this.#pending.get(id);
    if (!request) return;
    if (ok && payload?.status === "accepted" && request.onAck) {
      request.onAck(payload);
      return;
    }
    this.#pending.delete(id);
    clearTimeout(request.timer);
    if (ok) request.resolve(payload);
    else request.reject(new RequestError(error, payload));
  }

  /**
   * Asks the gateway. Rejects with `RequestError` or `Disconnected`.
   * @param {string} method
   * @param {object} [params]
   * @param {(ack: object) => void} [onAck] for methods that answer twice: called at the first answer, the ack; the
   *   second one may take any time
   * @returns {Promise<object>}
   */
  request(method, params, onAck) {
    if (!this.isOpen) return Promise.reject(new Disconnected());
    const id = `${++this.#lastId}`;
    return new Promise((resolve, reject) => {
      // A gateway that does not answer at all is as good as none.
      const timer = onAck ? undefined : setTimeout(() => this.#onLost(`no answer to ${method}`), REQUEST_MS);
      this.#pending.set(id, { resolve, reject, onAck, timer });
      this.#socket.send(JSON.stringify({ type: "req", id, method, ...(params ? { params } : {}) }));
    });
  }

  /** Notices a connection that is dead without having been closed. */
  #watch() {
    clearTimeout(this.#watchdog);
    const longestMs = SILENT_TICKS * this.hello.policy.tickIntervalMs + SILENCE_SLACK_MS;
    const leftMs = longestMs - (performance.now() - this.#lastFrameMs);
    if (leftMs <= 0) this.#onLost("the gateway went silent");
    else this.#watchdog = setTimeout(() => this.#watch(), leftMs);
  }

  #disconnect() {
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    this.#socket = undefined;
    this.isOpen = false;
    socket?.close();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject, timer } of pending) {
      clearTimeout(timer);
      reject(new Disconnected());
    }
  }

  #onLost(reason) {
    clearTimeout(this.#timer);
    this.#disconnect();
    const refusal = this.#helloError;
    if (refusal?.reason === "unauthorized") {
      this.#emit("connection", { state: "unauthorized" });
      return;
    }
    const pauseMs = this.#pauseMs(refusal);
    this.#timer = setTimeout(() => this.dial(), pauseMs);
    this.#isWaiting = true;
    this.#emit("connection", {
      state: refusal ? "refused" : "waiting",
      reason: refusal?.reason ?? this.#shutdown?.reason ?? reason,
      restart: this.#shutdown?.restartExpectedMs !== undefined,
      stopped: this.#shutdown !== undefined,
      retryTs: Date.now() + pauseMs,
    });
  }

  #pauseMs(refusal) {
    const doubled = RECONNECT_MIN_MS * 2 ** Math.min(this.#attempts, 10);
    this.#attempts += 1;
    let pause = refusal ? RECONNECT_MAX_MS : Math.min(doubled, RECONNECT_MAX_MS);
    // At the first attempt after a `shutdown`, what the gateway said of when it will be back counts.
    if (this.#shutdown?.restartExpectedMs > pause) pause = this.#shutdown.restartExpectedMs;
    return pause * (1 - RECONNECT_JITTER / 2 + RECONNECT_JITTER * Math.random());
  }
}
