// The connection to WhatsApp: opening it, telling its states, and what follows when it closes. Knows nothing of
// messages.
import makeWASocket, { Browsers, proto } from 'baileys'
import { Cache } from './cache.mjs'
import { closeOf } from './closecodes.mjs'
import { notConnected } from './errors.mjs'
import { isIgnored, selfOf } from './identity.mjs'
import * as limits from './limits.mjs'
import { baileysLogger, log } from './log.mjs'
import { opener } from './media.mjs'

const HOUR_MS = 3_600_000
const { INITIAL_BOOTSTRAP, PUSH_NAME } = proto.HistorySync.HistorySyncType

/** Error that a connection is ended with, in the shape that Baileys gives its own. */
const endError = (text, statusCode) => Object.assign(new Error(text), { output: { statusCode } })

/** One login's connection, which comes back by itself until told otherwise. */
export class Connection {
  #store
  #emit
  #handlers
  #agent
  #sock
  #state = 'off'
  /** Timers of the present socket. */
  #timers = new Set()
  #retryTimer
  /** Delayed attempts since a connection last held. */
  #attempts = 0
  /** Restarts in a row. */
  #restarts = 0
  /** Refusals with 500 in a row. */
  #refusals = 0
  /** When the connection was opened, by `performance.now()`; undefined while it is not. */
  #openedAt
  #isSynced = false
  /** Status of an HTTP answer where a WebSocket was wanted. */
  #httpStatus
  /** Caches outlive a socket, or every reconnect would ask for everything again. */
  #caches = {
    msgRetryCounterCache: new Cache(HOUR_MS),
    userDevicesCache: new Cache(5 * 60_000),
    callOfferCache: new Cache(5 * 60_000),
    placeholderResendCache: new Cache(HOUR_MS)
  }

  /**
   * @param {import('./store.mjs').Store} store
   * @param {(event: object) => void} emit
   * @param {object} handlers `attach(sock)`, `onInbound(node, message, decrypt)`, `onQr(data)`,
   *   `onClose(close)`, `getMessage(key)`, `group(jid)`
   * @param {import('node:https').Agent} [agent]
   */
  constructor(store, emit, handlers, agent) {
    this.#store = store
    this.#emit = emit
    this.#handlers = handlers
    this.#agent = agent
  }

  /** `off`, `connecting`, `linking`, `syncing`, `ready` or `closed`. */
  get state() {
    return this.#state
  }

  /** The socket, if messages can be sent. */
  get sock() {
    if (this.#state !== 'ready' && this.#state !== 'syncing') throw notConnected()
    return this.#sock
  }

  /** The socket while a link is being made. */
  get linkSock() {
    return this.#state === 'linking' ? this.#sock : undefined
  }

  /** Opens the connection now, unless it is there or on its way. */
  start() {
    if (this.#sock) return
    clearTimeout(this.#retryTimer)
    this.#attempts = 0
    this.#open()
  }

  /** Ends the connection, and the wish for one. */
  async stop() {
    clearTimeout(this.#retryTimer)
    this.#retryTimer = undefined
    const sock = this.#sock
    this.#release()
    this.#state = 'off'
    if (sock) await end(sock, endError('disconnected', 428))
  }

  /** Tells the server that this device is no more; true if it heard. Ends the connection. */
  async logout() {
    const sock = this.sock
    // Ours to close: what Baileys reports then is our own doing.
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

  /** Stops or starts reading from the server. */
  hold(isHeld) {
    const socket = this.#sock?.ws?.socket
    if (!socket || socket.readyState !== 1) return
    if (isHeld) socket.pause()
    else socket.resume()
  }

  #setState(state, more = {}) {
    this.#state = state
    const me = selfOf(this.#store.creds)
    this.#emit({ ev: 'state', state, ...(me && { me }), ...more })
  }

  #open() {
    this.#retryTimer = undefined
    this.#httpStatus = undefined
    this.#openedAt = undefined
    this.#isSynced = false
    this.#setState(this.#store.isLinked ? 'connecting' : 'linking')
    const sock = makeWASocket(this.#config())
    this.#sock = sock
    // Baileys takes this event away from ws, which would have given up by itself.
    sock.ws.on('unexpected-response', (_, response) => {
      this.#httpStatus = response.statusCode
      response.destroy()
      void sock.end(endError('refused over HTTP', 503))
    })
    this.#after(limits.CONNECT_MS, () => this.#fail(sock, 'nothing came of the connection'))
    // What a socket says after it was let go of is about a login that may be another one by now.
    sock.ev.on('creds.update', update => {
      if (this.#sock === sock) this.#store.saveCreds(update)
    })
    sock.ev.on('connection.update', update => {
      if (this.#sock === sock) this.#onUpdate(sock, update)
    })
    this.#handlers.attach(sock)
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
      // Small, and they carry the table of LIDs; the rest of the history is of no use to us.
      syncFullHistory: false,
      shouldSyncHistoryMessage: ({ syncType }) => syncType === INITIAL_BOOTSTRAP || syncType === PUSH_NAME,
      // Else the phone stops showing notifications.
      markOnlineOnConnect: false,
      emitOwnEvents: false,
      generateHighQualityLinkPreview: false,
      shouldIgnoreJid: isIgnored,
      getMessage: key => this.#handlers.getMessage(key),
      cachedGroupMetadata: jid => this.#handlers.group(jid),
      onInbound: (node, message, decrypt) => this.#handlers.onInbound(node, message, decrypt),
      ...this.#caches
    }
  }

  #onUpdate(sock, { connection, qr, receivedPendingNotifications, lastDisconnect }) {
    if (qr) {
      this.#clear()
      this.#handlers.onQr(qr)
    }
    // The end of the backlog may be told before Baileys calls the connection open; `ready` takes both.
    if (receivedPendingNotifications) this.#isSynced = true
    if (connection === 'open') {
      this.#clear()
      this.#openedAt = performance.now()
      this.#handlers.onOpen()
      if (!this.#isSynced) this.#setState('syncing')
      this.#after(limits.SYNC_MS, () => {
        // The server forgot to say that this was all; held back events would stay held back.
        sock.ev.flush()
        this.#setState('ready')
      })
    }
    if (this.#isSynced && this.#openedAt !== undefined && this.#state !== 'ready') {
      this.#clear()
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
    if (close.action === 'relink') this.#handlers.onClose(close)
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

  #clear() {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  /** Lets go of the socket: what it still says is not heard. */
  #release() {
    this.#clear()
    this.#sock = undefined
  }
}

/** Ends a socket of Baileys; one whose peer is silent is not waited for. */
async function end(sock, error) {
  const raw = sock.ws.socket
  const closed = sock.end(error)
  const timer = setTimeout(() => raw?.terminate(), 500)
  await Promise.resolve(closed).catch(() => {})
  clearTimeout(timer)
}
