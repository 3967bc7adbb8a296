// Puts the parts together: what each request does. Knows nothing of lines and of how answers are written.
import { mkdirSync, rmSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { DEFAULT_CONNECTION_CONFIG, proto } from 'baileys'
import { Connection } from './connection.mjs'
import { RequestError, invalid, unlinked } from './errors.mjs'
import { Groups, groupView } from './groups.mjs'
import { bare, isChat, isGroup, isSameChat, selfOf } from './identity.mjs'
import { Inbox } from './inbox.mjs'
import { BODY_MS, ID_CHARS_MAX, LIST_MAX, MEDIA_BYTES_MAX, PROTOCOL } from './limits.mjs'
import { Linking } from './linking.mjs'
import { lockFolder } from './lock.mjs'
import { fetchMedia } from './media.mjs'
import { Outbound, checkedJid } from './outbound.mjs'
import { agentFor } from './proxy.mjs'
import { writeLine } from './stdio.mjs'
import { Store } from './store.mjs'

/* global SIDECAR_VERSION, BAILEYS_VERSION -- put in by the build */
/** What a chat can be shown of somebody who writes. */
const TYPING_STATES = new Set(['composing', 'recording', 'paused'])

/** The sidecar of one folder of credentials. */
export class Sidecar {
  #store
  #lock
  #connection
  #inbox
  #agent
  #mediaDir
  #mediaMax
  #groups = new Groups()
  #linking = new Linking(writeLine)
  #outbound = new Outbound(writeLine)
  /** One after the other: two messages to one chat keep their order. */
  #sending = Promise.resolve()
  /** Whoever waits for the body of a message that we sent, by its id: `{chat, settle}`. */
  #bodyRequests = new Map()
  /** The newest socket, also while it is not open yet. */
  #current

  /** @param {(error: Error) => never} onFailure the journal cannot be written: nothing may go on */
  constructor(onFailure) {
    this.onFailure = onFailure
  }

  /**
   * Requests by name. Each gets the request and returns the members of its answer, or a promise of them.
   * @type {Record<string, (request: object) => object | Promise<object>>}
   */
  ops = {
    hello: request => this.#hello(request),
    connect: () => this.#connect(),
    disconnect: () => this.#disconnect(),
    link: request => this.#link(request),
    logout: () => this.#logout(),
    send: request => this.#send(request),
    typing: request => this.#typing(request),
    read: request => this.#read(request),
    fetch: request => this.#fetch(request),
    resolve: async ({ phones }) => ({ people: await this.#outbound.resolve(this.#connection.sock, phones) }),
    group: request => this.#group(request),
    ack: ({ seq }) => void this.#inbox.ack(seq),
    tidy: () => this.#store.tidy(),
    'sent-body': request => this.#sentBody(request),
    mem: () => memory(this.#inbox)
  }

  /** Whether `hello` has been answered. */
  get isReady() {
    return Boolean(this.#store)
  }

  /** Shows what waits; after the answer to `hello`. */
  afterHello() {
    this.#inbox.replay()
    if (!this.#store.isLinked) writeLine({ ev: 'state', state: 'unlinked' })
  }

  /** Ends the connection and closes the journal. */
  async close() {
    await this.#connection?.stop()
    this.#store?.close()
    this.#lock?.release()
  }

  #hello({ proto: version, authDir, mediaDir, mediaMaxBytes = MEDIA_BYTES_MAX, proxy }) {
    if (this.#store) throw invalid('`hello` was said already')
    if (version !== PROTOCOL) throw new RequestError('protocol', `this sidecar speaks protocol ${PROTOCOL}`)
    for (const [name, dir] of Object.entries({ authDir, mediaDir })) {
      if (typeof dir !== 'string' || !isAbsolute(dir)) throw invalid(`\`${name}\` is no absolute path`)
    }
    if (!Number.isSafeInteger(mediaMaxBytes) || mediaMaxBytes < 0) throw invalid('`mediaMaxBytes` is no size')
    this.#agent = agentFor(proxy)
    this.#mediaDir = mediaDir
    this.#mediaMax = mediaMaxBytes
    this.#openStore(authDir)
    this.#makeTemporary()
    const handlers = {
      attach: sock => this.#attach(sock),
      onInbound: (node, message, decrypt) => this.#inbox.receive(this.#current, node, message, decrypt),
      onQr: data => void this.#linking.onQr(data, this.#connection.linkSock),
      onOpen: () => this.#inbox.reapplyHold(),
      onClose: close => this.#onLoginGone(close),
      getMessage: key => this.#bodyOf(key),
      group: jid => this.#groups.fetch(this.#current, jid)
    }
    this.#connection = new Connection(this.#store, writeLine, handlers, this.#agent)
    this.#inbox = new Inbox(this.#store, held => this.#connection.hold(held), this.#groups.subjectOf)
    const { isLinked, damaged, cutBytes, creds, inbox } = this.#store
    return {
      proto: PROTOCOL,
      version: SIDECAR_VERSION,
      baileys: BAILEYS_VERSION,
      node: process.versions.node,
      host: new URL(DEFAULT_CONNECTION_CONFIG.waWebSocketUrl).host,
      linked: isLinked,
      waiting: inbox.length,
      ...(isLinked && { me: selfOf(creds) }),
      ...(damaged && { damaged }),
      ...(cutBytes && { cutBytes })
    }
  }

  #openStore(authDir) {
    makeFolder(authDir)
    const { pid, release } = lockFolder(authDir)
    if (pid !== undefined) throw new RequestError('locked', `process ${pid} uses this folder`, true)
    try {
      this.#store = new Store(authDir, this.onFailure)
    } catch (error) {
      release()
      throw error
    }
    this.#lock = { release }
  }

  /** A place for unfinished files; whatever an earlier life left there goes. */
  #makeTemporary() {
    const dir = join(this.#mediaDir, '.unfinished')
    rmSync(dir, { recursive: true, force: true })
    makeFolder(dir)
    // Baileys encrypts what it uploads into the system's folder, which may be memory.
    process.env.TMPDIR = dir
  }

  #attach(sock) {
    this.#current = sock
    this.#groups.clear()
    this.#groups.listen(sock)
    this.#outbound.listen(sock.ws)
    sock.ev.on('messages.upsert', ({ messages, requestId }) => {
      // Everything else was taken before its receipt; these come through the phone.
      if (requestId) for (const message of messages) void this.#inbox.receiveLate(sock, message)
    })
  }

  #connect() {
    if (this.#store.damaged)
      throw new RequestError('damaged', `the login is damaged: see ${this.#store.damaged}`)
    if (!this.#store.isLinked) throw unlinked()
    this.#connection.start()
  }

  async #disconnect() {
    this.#linking.cancel()
    await this.#connection.stop()
    this.#store.dropAttempt()
    if (!this.#store.isLinked) writeLine({ ev: 'state', state: 'unlinked' })
  }

  async #link(request) {
    if (this.#store.isLinked) throw new RequestError('linked', 'there is a login already: log out first')
    if (this.#connection.state === 'linking') throw new RequestError('busy', 'a link is being made', true)
    const answer = this.#linking.begin(request)
    this.#store.newCreds()
    this.#connection.start()
    return answer
  }

  async #logout() {
    if (!this.#store.isLinked) throw unlinked()
    const connected = this.#connection.state === 'ready' || this.#connection.state === 'syncing'
    const server = connected ? await this.#connection.logout() : false
    await this.#connection.stop()
    this.#store.wipeLogin()
    writeLine({ ev: 'state', state: 'unlinked' })
    // Unheard, the phone still lists this device.
    return { server }
  }

  #onLoginGone({ reason, wipesLogin }) {
    this.#linking.cancel(reason)
    if (wipesLogin) this.#store.wipeLogin()
    else this.#store.dropAttempt()
  }

  #send(request) {
    const sent = this.#sending.then(() => this.#outbound.send(this.#connection.sock, request))
    this.#sending = sent.catch(() => {})
    return sent
  }

  async #typing({ to, state }) {
    if (!TYPING_STATES.has(state)) throw invalid('`state` is unknown')
    await this.#connection.sock.sendPresenceUpdate(state, checkedJid(to, 'to'))
  }

  async #read({ keys }) {
    if (!Array.isArray(keys) || keys.length > LIST_MAX) throw invalid('`keys` is no list')
    const messageKeys = keys.map(({ chat, id, from }) => ({
      remoteJid: checkedJid(chat, 'keys.chat'),
      id,
      participant: isGroup(chat) ? bare(checkedJid(from, 'keys.from')) : undefined
    }))
    await this.#connection.sock.readMessages(messageKeys)
  }

  #fetch({ ref, max = this.#mediaMax }) {
    const renew = message => this.#connection.sock.updateMediaMessage(message)
    return fetchMedia(ref ?? '', { dir: this.#mediaDir, max, agent: this.#agent, renew })
  }

  async #group({ jid }) {
    if (!isGroup(jid)) throw invalid('`jid` is no group')
    return { group: groupView(await this.#groups.fetch(this.#connection.sock, jid)) }
  }

  /** A contact could not read what we sent and asks again; after a restart only the gateway has it. */
  #bodyOf(key) {
    const { id, remoteJid } = key ?? {}
    // Whoever writes to us may make Baileys ask for anything, and more than once at a time.
    if (!id || id.length > ID_CHARS_MAX || !isChat(remoteJid) || this.#bodyRequests.has(id)) {
      return Promise.resolve(undefined)
    }
    return new Promise(resolve => {
      const timer = setTimeout(() => settle(undefined), BODY_MS)
      const settle = body => {
        clearTimeout(timer)
        this.#bodyRequests.delete(id)
        resolve(body)
      }
      this.#bodyRequests.set(id, { chat: remoteJid, settle })
      writeLine({ ev: 'need-body', id, chat: remoteJid })
    })
  }

  async #sentBody({ id, to, proto: body }) {
    const bodyRequest = this.#bodyRequests.get(id)
    if (!bodyRequest) throw invalid('nobody waits for this body')
    try {
      const { lidMapping } = this.#current.signalRepository
      // Somebody else may have seen its id.
      const isTheirs = body && (await isSameChat(bodyRequest.chat, checkedJid(to, 'to'), lidMapping))
      bodyRequest.settle(isTheirs ? proto.Message.decode(Buffer.from(body, 'base64')) : undefined)
    } catch (error) {
      bodyRequest.settle(undefined)
      throw error instanceof RequestError ? error : invalid('`proto` is no message')
    }
  }
}

const makeFolder = dir => mkdirSync(dir, { recursive: true, mode: 0o700 })

function memory(inbox) {
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss, heapUsed, external, waiting: inbox.waiting }
}
