// The mock's server: sockets, the Noise transport, and who handles which stanza. Everything that happens
// becomes an event that a test can wait for.
import { EventEmitter } from 'node:events'
import http from 'node:http'
import { WebSocketServer } from 'ws'
import { control } from './control.mjs'
import { SERVER } from './jids.mjs'
import { closeSoon, login, streamError } from './login.mjs'
import { MediaStore } from './media.mjs'
import { NoiseResponder, makeCertChain } from './noise.mjs'
import { onMessage } from './outgoing.mjs'
import { People } from './people.mjs'
import { onQuery } from './queries.mjs'
import { onReceipt, settle } from './incoming.mjs'
import { Curve, decodeBinaryNode, el, encodeBinaryNode, kids, proto, verify } from './wa.mjs'

const EVENTS_MAX = 20_000
const WAIT_MS = 15_000
/** What tests can turn, as it is at first; the README says what each does. */
const KNOBS = {
  qrRefs: 6,
  ack: 'auto',
  ackDelayMs: 0,
  deliver: true,
  read: false,
  history: true,
  historyMessages: 3,
  historyConversations: 2,
  historyInline: true,
  refuse: 0,
  refuseStatus: 503,
  failLogin: 0,
  silent: false,
  silentXmlns: [],
  edgeRouting: true,
  offlineEnd: true,
  extraDevices: 0,
  addressing: 'lid',
  restartAfterPair: true,
  ackReceipts: true,
  slowIqMs: 0
}

/** Handlers of stanzas by their tag. */
const HANDLERS = {
  iq: onQuery,
  message: onMessage,
  receipt: onReceipt,
  ack: onAck,
  chatstate: onChatState,
  presence: onPresence,
  ib: () => {},
  notification: () => {}
}

export class MockWa extends EventEmitter {
  root = Curve.generateKeyPair()
  conns = new Set()
  /** QR reference -> connection that shows it. */
  refs = new Map()
  /** Number -> pairing by code that is under way. */
  codes = new Map()
  /** What clients have sent. */
  received = []
  /** Inbound messages by id, to be encrypted again when a client asks. */
  sent = new Map()
  events = []
  seq = 0
  #staticKey = Curve.generateKeyPair()
  #certs

  constructor({ knobs, port = 0 } = {}) {
    super()
    this.setMaxListeners(0)
    this.knobs = { ...KNOBS, ...knobs }
    this.port = port
    this.people = new People(this.knobs)
    this.#certs = makeCertChain(this.root, this.#staticKey.public)
    checkChain(this.root, this.#certs)
    this.media = new MediaStore((type, data) => this.log(type, data))
    this.http = http.createServer((_, res) => res.writeHead(404).end())
    this.wss = new WebSocketServer({ noServer: true, maxPayload: 64 << 20 })
    this.http.on('upgrade', (req, sock, head) => this.#upgrade(req, sock, head))
  }

  /** Notes that something happened. */
  log(type, data = {}) {
    const event = { seq: ++this.seq, t: Date.now(), type, ...data }
    this.events.push(event)
    if (this.events.length > EVENTS_MAX) this.events.splice(0, EVENTS_MAX / 4)
    this.emit('event', event)
    return event
  }

  /** Waits for an event with the members of `match`, past ones included; a list fits if it has the value. */
  wait(match, since = 0, timeoutMs = WAIT_MS) {
    const fits = event =>
      event.seq > since &&
      Object.entries(match).every(([k, v]) =>
        Array.isArray(event[k]) ? event[k].includes(v) : event[k] === v
      )
    const hit = this.events.find(fits)
    if (hit) return Promise.resolve(hit)
    return new Promise((resolve, reject) => {
      const onEvent = event => {
        if (!fits(event)) return
        clearTimeout(timer)
        this.off('event', onEvent)
        resolve(event)
      }
      const timer = setTimeout(() => {
        this.off('event', onEvent)
        reject(new Error(`timed out waiting for ${JSON.stringify(match)}`))
      }, timeoutMs)
      this.on('event', onEvent)
    })
  }

  async listen() {
    await new Promise((resolve, reject) =>
      this.http.once('error', reject).listen(this.port, '127.0.0.1', resolve)
    )
    this.port = this.http.address().port
    if (!this.media.host) await this.media.listen()
    this.url = `ws://127.0.0.1:${this.port}/ws/chat`
  }

  async unlisten() {
    for (const conn of this.conns) conn.ws.terminate()
    await new Promise(resolve => this.http.close(resolve))
  }

  /** Does what a test asks for; see control.mjs. */
  async op({ op, ...request }) {
    if (!Object.hasOwn(control, op)) throw new Error(`unknown op ${op}`)
    return control[op](this, request)
  }

  #upgrade(req, sock, head) {
    if (this.knobs.refuse > 0) {
      this.knobs.refuse--
      this.log('refused', { status: this.knobs.refuseStatus })
      sock.end(`HTTP/1.1 ${this.knobs.refuseStatus} mock\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
      return
    }
    this.wss.handleUpgrade(req, sock, head, ws => this.#accept(ws))
  }

  #accept(ws) {
    const noise = new NoiseResponder({ staticKey: this.#staticKey, certChain: this.#certs })
    const conn = { ws, id: this.seq + 1, noise, queue: Promise.resolve() }
    this.conns.add(conn)
    this.log('connect', { conn: conn.id })
    ws.on('message', data => this.#onData(conn, data))
    ws.on('close', code => {
      this.conns.delete(conn)
      if (conn.companion?.conn === conn) conn.companion.conn = undefined
      this.log('disconnect', { conn: conn.id, account: conn.account?.pn, device: conn.companion?.id, code })
    })
    ws.on('error', () => {})
  }

  #onData(conn, data) {
    let parts
    try {
      parts = conn.noise.feed(data)
    } catch (error) {
      this.log('noise-error', { error: error.message })
      return conn.ws.terminate()
    }
    for (const part of parts) {
      if (part.reply) {
        this.log('client-hello', { conn: conn.id, routing: !!conn.noise.routing })
        conn.ws.send(part.reply)
      } else {
        conn.queue = conn.queue
          .then(() => this.#onPart(conn, part))
          .catch(error => this.log('mock-error', { error: error.stack }))
      }
    }
  }

  async #onPart(conn, part) {
    if (part.login) return login(this, conn, part.login, part.clientStatic)
    const node = await decodeBinaryNode(part.plain)
    if (this.knobs.silent) return undefined
    const handle = HANDLERS[node.tag]
    if (!handle) return this.log('unhandled-stanza', { tag: node.tag, attrs: node.attrs })
    return handle(this, conn, node)
  }

  /** Sends a node, if the client is there. */
  send(conn, node) {
    if (conn?.ws.readyState !== 1) return false
    conn.ws.send(conn.noise.seal(Buffer.from(encodeBinaryNode(node))))
    return true
  }

  result(conn, iq, content) {
    const { to, id } = iq.attrs
    this.send(conn, el('iq', { from: to && to !== '@g.us' ? to : SERVER, type: 'result', id }, content))
  }

  error(conn, iq, code, text) {
    this.send(conn, el('iq', { from: SERVER, type: 'error', id: iq.attrs.id }, [el('error', { code, text })]))
  }

  /** Ends connections: of one account or all, in one of several ways. */
  drop({ account, code = 503, mode, kind }) {
    const ended = [...this.conns].filter(conn => !account || conn.account?.pn === account)
    for (const conn of ended) {
      if (mode === 'tcp') conn.ws.terminate()
      else if (mode === 'close') conn.ws.close()
      else if (mode === 'end') {
        this.send(conn, el('xmlstreamend'))
        closeSoon(conn)
      } else {
        if (code === 401 && conn.companion) conn.account.companions.delete(conn.companion.id)
        streamError(this, conn, code, kind)
      }
    }
    return ended.length
  }
}

function checkChain(root, chain) {
  const { intermediate, leaf } = proto.CertChain.decode(chain)
  const { key, issuerSerial } = proto.CertChain.NoiseCertificate.Details.decode(intermediate.details)
  const isGood =
    issuerSerial === 0 &&
    verify(root.public, intermediate.details, intermediate.signature) &&
    verify(key, leaf.details, leaf.signature)
  if (!isGood) throw new Error("the mock's certificate chain is wrong")
}

function onAck(wa, conn, node) {
  if (node.attrs.class !== 'message') return
  wa.log('client-ack', { id: node.attrs.id, error: node.attrs.error })
  settle(conn.companion, node.attrs.id)
}

function onChatState(wa, conn, node) {
  const [state] = kids(node)
  wa.log('chatstate', { to: node.attrs.to, state: state?.tag, media: state?.attrs.media })
}

function onPresence(wa, conn, { attrs: { type, name, to } }) {
  wa.log('presence', { kind: type, name, to })
}
