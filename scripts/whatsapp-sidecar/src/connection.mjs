// The connection to WhatsApp: opens it, tells the gateway its states, and opens it again when it has closed. Made by
// sidecar.mjs; hands what the server sends to the handlers that it was made with, and knows nothing of messages.
import makeWASocket, { Browsers, proto } from 'baileys'
import { Cache } from './cache.mjs'
import { closeOf } from './closecodes.mjs'
import { notConnected } from './errors.mjs'
import { isIgnored, selfOf } from './identity.mjs'
import * as limits from './limits.mjs'
import { baileysLogger, log } from './log.mjs'
import { opener } from './media.mjs'
import { writeLine } from './stdio.mjs'

const { INITIAL_BOOTSTRAP, PUSH_NAME } = proto.HistorySync.HistorySyncType

/** Error that a connection is ended with, in the shape that Baileys gives its own. */
const endError = (text, statusCode) => Object.assign(new Error(text), { output: { statusCode } })

/** One login's connection, which opens itself again until it is stopped. */
export class Connection {
  #store
  #handlers
  #agent
  #sock
  #state = 'off'
  /** Timers of the present socket. */
  #timers = new Set()
  #retryTimer
  /** Delayed attempts since a connection last stayed open for `RETRY_FORGOTTEN_MS`. */
  #attempts = 0
  /** Restarts in a row. */
  #restarts = 0
  /** Refusals with 500 in a row. */
  #refusals = 0
  /** When the connection was opened, by `performance.now()`; undefined while it is not. */
  #openedAt
  /** Whether the server has said that the backlog is over. */
  #isSynced = false
  /** Whether nothing is read from the server. */
  #isHeld = false
  /** Status of the HTTP answer to an attempt to open a WebSocket; undefined unless there was one. */
  #httpStatus
  /** Caches of Baileys that outlive a socket, or each connection would ask for everything again. */
  #caches = {
    msgRetryCounterCache: new Cache(limits.RESEND_MS),
    userDevicesCache: new Cache(limits.DEVICES_MS),
    callOfferCache: new Cache(limits.DEVICES_MS),
    placeholderResendCache: new Cache(limits.RESEND_MS)
  }

  /**
   * @param {import('./store.mjs').Store} store
   * @param {import('node:https').Agent | undefined} agent of the proxy, if there is one
   * @param {object} handlers each gets the socket that it is about, but `onLoginEnd`
   * @param {(sock: object) => void} handlers.onSocket a socket was made, and is not open yet
   * @param {(sock: object, node: object, message: object, decrypt: () => Promise<void>) => Promise<void>}
   *   handlers.onMessage as of `Inbox.receive`
   * @param {(sock: object, data: string) => void} handlers.onQr the server offers a QR code
   * @param {(close: {reason: string, wipesLogin?: boolean}) => void} handlers.onLoginEnd only a new link helps now
   * @param {(sock: object, key: object) => Promise<object | undefined>} handlers.bodyOf the body of a sent message
   * @param {(sock: object, jid: string) => Promise<object>} handlers.groupOf the description of a group
   */
  constructor(store, agent, handlers) {
    this.#store = store
    this.#agent = agent
    this.#handlers = handlers
  }

  /** `off`, `connecting`, `linking`, `syncing`, `ready` or `closed`. */
  get state() {
    return this.#state
  }

  /** Whether messages can be sent. */
  get isUsable() {
    return this.#state === 'ready' || this.#state === 'syncing'
  }

  /** The socket; throws `not-connected` unless messages can be sent. */
  get sock() {
    if (!this.isUsable) throw notConnected()
    return this.#sock
  }

  /** Opens the connection now, unless it is open or being opened. */
  start() {
    if (this.#sock) return
    clearTimeout(this.#retryTimer)
    this.#attempts = 0
    this.#open()
  }

  /** Ends the connection, and does not open it again. */
  async stop() {
    clearTimeout(this.#retryTimer)
    this.#retryTimer = undefined
    const sock = this.#sock
    this.#release()
    this.#state = 'off'
    if (sock) await end(sock, endError('disconnected', 428))
  }

  /** Takes this device off the account and ends the connection; resolves to whether the server has answered. */
  async logout() {
    const sock = this.sock
    // Let go of first, or the close that follows would be taken for the server's.
    this.#release()
    this.#state = 'off'
    const device = {
      tag: 'remove-companion-device',
      attrs: { jid: this.#store.creds.me.id, reason: 'user_initiated' }
    }
    const attrs = { to: 's.whatsapp.net', type: 'set', xmlns: 'md' }
    // Baileys' own `logout` does not wait for the answer.
    const heard = await sock.query({ tag: 'iq', attrs, content: [device] }, limits.LOGOUT_MS).then(
      () => true,
      () => false
    )
    await end(sock, endError('logged out', 401))
    return heard
  }

  /** Stops or starts reading from the server, also over later connections. */
  hold(isHeld) {
    this.#isHeld = isHeld
    const socket = this.#sock?.ws?.socket
    if (!socket || socket.readyState !== 1) return
    if (isHeld) socket.pause()
    else socket.resume()
  }

  #setState(state, more = {}) {
    this.#state = state
    const me = selfOf(this.#store.creds)
    writeLine({ ev: 'state', state, ...(me && { me }), ...more })
  }

  #open() {
    this.#retryTimer = undefined
    this.#httpStatus = undefined
    this.#openedAt = undefined
    this.#isSynced = false
    this.#setState(this.#store.isLinked ? 'connecting' : 'linking')
    const { bodyOf, groupOf, onMessage, onSocket } = this.#handlers
    const sock = makeWASocket({
      ...this.#config(),
      getMessage: key => bodyOf(sock, key),
      cachedGroupMetadata: jid => groupOf(sock, jid),
      // Not one of Baileys' own: an edit of the build calls it.
      onInbound: (node, message, decrypt) => onMessage(sock, node, message, decrypt)
    })
    this.#sock = sock
    // Baileys listens to this event, and with a listener ws does not end the attempt by itself.
    sock.ws.on('unexpected-response', (_, response) => {
      this.#httpStatus = response.statusCode
      response.destroy()
      void sock.end(endError('refused over HTTP', 503))
    })
    this.#after(limits.CONNECT_MS, () => this.#fail(sock, 'nothing came of the connection'))
    // Events of a socket that was let go of are ignored: the login may be another one by now.
    sock.ev.on('creds.update', update => {
      if (this.#sock === sock) this.#store.saveCreds(update)
    })
    sock.ev.on('connection.update', update => {
      if (this.#sock === sock) this.#onUpdate(sock, update)
    })
    onSocket(sock)
  }

  #config() {
    return {
      auth: { creds: this.#store.creds, keys: this.#store.keys },
      logger: baileysLogger,
      // The phone shows it, and it must stay the same after linking.
      browser: Browsers.ubuntu('Chrome'),
      agent: this.#agent,
      fetchAgent: this.#agent,
      options: { openStream: opener(this.#agent) },
      connectTimeoutMs: limits.HANDSHAKE_MS,
      defaultQueryTimeoutMs: limits.QUERY_MS,
      // These two are small and bring the table of LIDs; nobody reads the rest of the history.
      syncFullHistory: false,
      shouldSyncHistoryMessage: ({ syncType }) => syncType === INITIAL_BOOTSTRAP || syncType === PUSH_NAME,
      // Else the phone stops showing notifications.
      markOnlineOnConnect: false,
      emitOwnEvents: false,
      generateHighQualityLinkPreview: false,
      shouldIgnoreJid: isIgnored,
      ...this.#caches
    }
  }

  #onUpdate(sock, { connection, qr, receivedPendingNotifications, lastDisconnect }) {
    if (qr) {
      this.#clearTimers()
      this.#handlers.onQr(sock, qr)
    }
    // The server may say that the backlog is over before Baileys calls the connection open; `ready` needs both.
    if (receivedPendingNotifications) this.#isSynced = true
    if (connection === 'open') {
      this.#clearTimers()
      this.#openedAt = performance.now()
      if (this.#isHeld) this.hold(true)
      if (!this.#isSynced) this.#setState('syncing')
      this.#after(limits.SYNC_MS, () => {
        // The server has not said that this was all, and Baileys holds events back until then.
        sock.ev.flush()
        this.#setState('ready')
      })
    }
    if (this.#isSynced && this.#openedAt !== undefined && this.#state !== 'ready') {
      this.#clearTimers()
      this.#setState('ready')
    }
    if (connection === 'close') this.#onClose(lastDisconnect?.error)
  }

  #onClose(error) {
    const openMs = this.#openedAt === undefined ? 0 : performance.now() - this.#openedAt
    if (openMs > limits.RETRY_FORGOTTEN_MS) this.#attempts = 0
    const code = error?.output?.statusCode ?? 500
    this.#refusals = code === 500 && openMs < limits.RETRY_FORGOTTEN_MS ? this.#refusals + 1 : 0
    const { isLinked } = this.#store
    const isBadSession = this.#refusals >= limits.BAD_SESSION_AFTER
    const close = closeOf({ code, http: this.#httpStatus, isLinked, isBadSession })
    this.#restarts = close.action === 'restart' ? this.#restarts + 1 : 0
    this.#release()
    if (close.action === 'relink') this.#handlers.onLoginEnd(close)
    const again = close.action === 'retry' || close.action === 'restart'
    const retryMs = again ? this.#delayMs(close) : undefined
    const { reason, action } = close
    this.#setState('closed', { code: close.code, reason, action, ...(again && { retryMs }) })
    if (again) this.#retryTimer = setTimeout(() => this.#open(), retryMs)
  }

  #delayMs({ action, isSlow }) {
    if (action === 'restart' && this.#restarts <= limits.RESTARTS_MAX) return 0
    const doubled = limits.RETRY_FIRST_MS * 2 ** Math.min(this.#attempts++, 20)
    const baseMs = isSlow ? limits.RETRY_MAX_MS : Math.min(doubled, limits.RETRY_MAX_MS)
    return Math.round(baseMs * (1 - limits.RETRY_JITTER * Math.random()))
  }

  #fail(sock, text) {
    log('warn', text)
    void end(sock, endError(text, 408))
  }

  #after(ms, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      act()
    }, ms)
    this.#timers.add(timer)
  }

  #clearTimers() {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  /** Lets go of the socket: its events are ignored from now on. */
  #release() {
    this.#clearTimers()
    this.#sock = undefined
  }
}

/** Ends a socket of Baileys, by force if its peer does not answer. */
async function end(sock, error) {
  const raw = sock.ws.socket
  const closed = sock.end(error)
  const timer = setTimeout(() => raw?.terminate(), limits.CLOSE_MS)
  await Promise.resolve(closed).catch(() => {})
  clearTimeout(timer)
}
