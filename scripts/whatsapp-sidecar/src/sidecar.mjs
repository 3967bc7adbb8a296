// What each request does, and which part of the sidecar does it. Knows nothing of lines, nor of how answers are
// written.
//
// The parts, and what goes from one to the other:
//   connection  gets messages from WhatsApp and hands them to the inbox; offers codes to linking; ends logins
//   inbox       decrypts messages, saves them in the store and shows them to the gateway; holds the connection while
//               too many wait
//   linking     shows the gateway the codes by which a phone accepts this device
//   groups      knows who is in a group, for the connection and for `group`
//   outbound    sends, over the connection's socket
//   sentBodies  fetches what was sent before from the gateway, for the connection
//   store       keeps the login and what waits in the inbox
import { mkdirSync, rmSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { DEFAULT_CONNECTION_CONFIG } from 'baileys'
import { SentBodies } from './bodies.mjs'
import { Connection } from './connection.mjs'
import { RequestError, invalid, unlinked } from './errors.mjs'
import { Groups, groupView } from './groups.mjs'
import { bare, checkedJid, isGroup, selfOf } from './identity.mjs'
import { Inbox } from './inbox.mjs'
import { LIST_MAX, MEDIA_BYTES_MAX, PROTOCOL } from './limits.mjs'
import { Linking } from './linking.mjs'
import { lockFolder } from './lock.mjs'
import { fetchMedia } from './media.mjs'
import { Outbound } from './outbound.mjs'
import { agentFor } from './proxy.mjs'
import { Store } from './store.mjs'
import { writeLine } from './stdio.mjs'

/* global SIDECAR_VERSION, BAILEYS_VERSION -- put in by the build */
/** What a chat can be shown of somebody who writes. */
const TYPING_STATES = new Set(['composing', 'recording', 'paused'])

/**
 * What the requests after `hello` do, by name: each gets the sidecar and the request, and returns the members of its
 * answer, or a promise of them.
 * @type {Record<string, (sidecar: Sidecar, request: object) => object | void | Promise<object | void>>}
 */
export const OPS = {
  connect: sidecar => sidecar.connect(),
  disconnect: sidecar => sidecar.disconnect(),
  link: (sidecar, request) => sidecar.link(request),
  logout: sidecar => sidecar.logout(),
  send: (sidecar, request) => sidecar.send(request),
  typing: (sidecar, request) => sidecar.type(request),
  read: (sidecar, request) => sidecar.read(request),
  fetch: (sidecar, request) => sidecar.fetch(request),
  resolve: (sidecar, request) => sidecar.resolve(request),
  group: (sidecar, request) => sidecar.group(request),
  ack: (sidecar, request) => sidecar.ack(request),
  tidy: sidecar => sidecar.tidy(),
  'sent-body': (sidecar, request) => sidecar.settleBody(request),
  mem: sidecar => sidecar.memory()
}

/** The sidecar of one folder of credentials. */
export class Sidecar {
  #store
  #unlock
  /** Where media goes and how it is fetched: `{dir, max, agent}`. */
  #media
  #connection
  #inbox
  #groups = new Groups()
  #linking = new Linking()
  #outbound = new Outbound()
  #sentBodies = new SentBodies()
  /** The last send; the next one waits for it, so that two messages to one chat keep their order. */
  #sending = Promise.resolve()

  /**
   * Takes the folder and opens what is saved there.
   * @param {object} hello the request
   * @param {(error: Error) => never} onFailure the journal cannot be written: nothing may go on
   */
  constructor(hello, onFailure) {
    const { authDir, mediaDir, mediaMaxBytes = MEDIA_BYTES_MAX, proxy } = checkedHello(hello)
    this.#media = { dir: mediaDir, max: mediaMaxBytes, agent: agentFor(proxy) }
    makeFolder(authDir)
    this.#unlock = lockFolder(authDir)
    try {
      this.#store = new Store(authDir, onFailure)
      makeTemporaryFolder(mediaDir)
    } catch (error) {
      this.#store?.close()
      this.#unlock()
      throw error
    }
    this.#inbox = new Inbox(this.#store, isHeld => this.#connection.hold(isHeld), this.#groups.subjectOf)
    this.#connection = new Connection(this.#store, this.#media.agent, {
      onSocket: sock => this.#onSocket(sock),
      onMessage: (sock, node, message, decrypt) => this.#inbox.receive(sock, node, message, decrypt),
      onQr: (sock, data) => void this.#linking.onQr(sock, data),
      onLoginEnd: close => this.#onLoginEnd(close),
      bodyOf: (sock, key) => this.#sentBodies.fetch(key, sock.signalRepository.lidMapping),
      groupOf: (sock, jid) => this.#groups.fetch(sock, jid)
    })
  }

  /** The members of the answer to `hello`. */
  greeting() {
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

  /** Shows the gateway what waits for it; comes after the answer to `hello`. */
  start() {
    this.#inbox.replay()
    if (!this.#store.isLinked) showUnlinked()
  }

  /** Ends the connection, closes the journal and gives the folder back. */
  async close() {
    await this.#connection.stop()
    this.#store.close()
    this.#unlock()
  }

  connect() {
    if (this.#store.damaged)
      throw new RequestError('damaged', `the login is damaged: see ${this.#store.damaged}`)
    if (!this.#store.isLinked) throw unlinked()
    this.#connection.start()
  }

  async disconnect() {
    this.#linking.cancel()
    await this.#connection.stop()
    this.#store.dropAttempt()
    if (!this.#store.isLinked) showUnlinked()
  }

  /** Begins to link this device to a phone. */
  async link(request) {
    if (this.#store.isLinked) throw new RequestError('linked', 'there is a login already: log out first')
    if (this.#connection.state === 'linking') throw new RequestError('busy', 'a link is being made', true)
    const answer = this.#linking.begin(request)
    this.#store.newCreds()
    this.#connection.start()
    return answer
  }

  /** Takes the link back. `server` in the answer: whether WhatsApp heard of it; if not, the phone still lists us. */
  async logout() {
    if (!this.#store.isLinked) throw unlinked()
    const server = this.#connection.isUsable ? await this.#connection.logout() : false
    await this.#connection.stop()
    this.#store.wipeLogin()
    showUnlinked()
    return { server }
  }

  send(request) {
    const sent = this.#sending.then(() => this.#outbound.send(this.#connection.sock, request))
    this.#sending = sent.catch(() => {})
    return sent
  }

  async type({ to, state }) {
    if (!TYPING_STATES.has(state)) throw invalid('`state` is unknown')
    await this.#connection.sock.sendPresenceUpdate(state, checkedJid(to, 'to'))
  }

  /** Tells the senders of messages that these have been read. */
  async read({ keys }) {
    if (!Array.isArray(keys) || keys.length > LIST_MAX) throw invalid('`keys` is no list')
    const messageKeys = keys.map(({ chat, id, from }) => ({
      remoteJid: checkedJid(chat, 'keys.chat'),
      id,
      participant: isGroup(chat) ? bare(checkedJid(from, 'keys.from')) : undefined
    }))
    await this.#connection.sock.readMessages(messageKeys)
  }

  /** Fetches the file of a message. */
  fetch({ ref, max = this.#media.max }) {
    const renew = message => this.#connection.sock.updateMediaMessage(message)
    return fetchMedia(ref ?? '', { ...this.#media, max, renew })
  }

  async resolve({ phones }) {
    return { people: await this.#outbound.resolve(this.#connection.sock, phones) }
  }

  async group({ jid }) {
    if (!isGroup(jid)) throw invalid('`jid` is no group')
    return { group: groupView(await this.#groups.fetch(this.#connection.sock, jid)) }
  }

  ack({ seq }) {
    this.#inbox.ack(seq)
  }

  tidy() {
    this.#store.tidy()
  }

  settleBody(request) {
    return this.#sentBodies.settle(request)
  }

  memory() {
    const { rss, heapUsed, external } = process.memoryUsage()
    return { rss, heapUsed, external, waiting: this.#store.inbox.length }
  }

  /** A connection is being opened. */
  #onSocket(sock) {
    this.#groups.clear()
    this.#groups.listen(sock)
    this.#outbound.listen(sock.ws)
    sock.ev.on('messages.upsert', ({ messages, requestId }) => {
      // With a request they come from the phone, which was asked for them; all others came through `onMessage`.
      if (requestId) for (const message of messages) void this.#inbox.receiveLate(sock, message)
    })
  }

  /** The login, or the attempt to get one, is over. */
  #onLoginEnd({ reason, wipesLogin }) {
    this.#linking.cancel(reason)
    if (wipesLogin) this.#store.wipeLogin()
    else this.#store.dropAttempt()
  }
}

function checkedHello(hello) {
  const { proto: version, authDir, mediaDir, mediaMaxBytes } = hello
  if (version !== PROTOCOL) throw new RequestError('protocol', `this sidecar speaks protocol ${PROTOCOL}`)
  for (const [name, dir] of Object.entries({ authDir, mediaDir })) {
    if (typeof dir !== 'string' || !isAbsolute(dir)) throw invalid(`\`${name}\` is no absolute path`)
  }
  if (mediaMaxBytes !== undefined && (!Number.isSafeInteger(mediaMaxBytes) || mediaMaxBytes < 0))
    throw invalid('`mediaMaxBytes` is no size')
  return hello
}

const makeFolder = dir => mkdirSync(dir, { recursive: true, mode: 0o700 })

/** Makes a folder for unfinished files; those of an earlier life are deleted. */
function makeTemporaryFolder(mediaDir) {
  const dir = join(mediaDir, '.unfinished')
  rmSync(dir, { recursive: true, force: true })
  makeFolder(dir)
  // Baileys encrypts what it uploads into the system's temporary folder, which may be memory.
  process.env.TMPDIR = dir
}

const showUnlinked = () => writeLine({ ev: 'state', state: 'unlinked' })
