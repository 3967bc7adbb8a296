// What must survive a restart: the credentials and keys of the login, and the inbound messages that the gateway has
// not acknowledged. One journal holds both, so that a message and the keys that it used up are saved together. Made
// by sidecar.mjs; knows nothing of connections.
import { AsyncLocalStorage } from 'node:async_hooks'
import { BufferJSON, initAuthCreds, proto } from 'baileys'
import { Journal } from './journal.mjs'
import { HISTORY_NOTES_MAX, JOURNAL_SLACK_BYTES, RECENT_MAX } from './limits.mjs'

/*
 * A record has any of these members, applied in this order:
 *   v      format version, in the first record of a file
 *   seq    number of the last message that was ever kept
 *   wipe   true: the login is gone (messages stay)
 *   creds  { field: value }: fields of the credentials that have changed
 *   keys   { type: { id: value or null } }: Signal keys that have changed
 *   msg    an inbound message, as the gateway is shown it
 *   ack    messages up to this number are the gateway's
 *   recent names of messages that were kept before, in the first record of a file
 */
const FORMAT = 1
const KEYS_PER_RECORD = 200
/** Types of keys that change with every message: saved without a sync, since a sender waits for `commit`. */
const RATCHETS = new Set(['session', 'sender-key'])

/** The name by which a repetition of a message is recognised. */
const nameOf = ({ id, from }) => `${id} ${from.lid ?? from.pn ?? from.jid}`

const toText = value => JSON.stringify(value, BufferJSON.replacer)
const toValue = text => JSON.parse(text, BufferJSON.reviver)

/** The saved login and inbox of one folder. */
export class Store {
  #journal
  #onFailure
  /** The scope of whatever runs, if it runs in a `receive`. */
  #scope = new AsyncLocalStorage()
  /** Scopes of the messages that are being received, with the keys that each has changed and not saved yet. */
  #receiving = new Set()
  /**
   * Fields of the credentials as they are saved: JSON texts, which are smaller than objects, and which Baileys cannot
   * change.
   */
  #creds = new Map()
  /** Keys as they are saved, by type and id. @type {Map<string, Map<string, string>>} */
  #keys = new Map()
  /** Size of the journal, in bytes, from which the next record rewrites it. */
  #compactAt = 0
  /** Whether acknowledged messages are still in the file. */
  #hasOld = false
  /** Names of the newest messages, the oldest first. */
  #recent = new Set()

  /** Inbound messages that wait for the gateway, oldest first. */
  inbox = []
  /** Number of the last message. */
  seq = 0
  /** Bytes of an unfinished record that were cut off. */
  cutBytes = 0
  /** Name of a damaged journal; nothing but a new link may follow it. */
  damaged
  /** The credentials as Baileys uses them; undefined before linking begins. */
  creds

  /**
   * @param {string} dir
   * @param {(error: Error) => never} onFailure called when something could not be saved
   */
  constructor(dir, onFailure) {
    this.#onFailure = onFailure
    this.#journal = new Journal(dir)
    const { records, cutBytes, damaged } = this.#journal.open()
    this.cutBytes = cutBytes
    this.damaged = damaged
    for (const record of records) this.#apply(record)
    if (records.length && records[0].v !== FORMAT)
      throw new Error(`journal format ${records[0].v} is unknown`)
    if (this.#creds.size) {
      this.creds = Object.fromEntries([...this.#creds].map(([field, text]) => [field, toValue(text)]))
    }
    this.#planCompaction()
  }

  /** Whether a phone has accepted this device. */
  get isLinked() {
    return Boolean(this.creds?.account)
  }

  /** Begins a new login, in memory until a phone accepts it. Never called over a saved one. */
  newCreds() {
    if (this.isLinked) throw new Error('there is a login already')
    this.#keys.clear()
    this.creds = initAuthCreds()
  }

  /** Forgets an attempt to link that came to nothing. */
  dropAttempt() {
    if (this.isLinked) return
    this.creds = undefined
    this.#keys.clear()
  }

  /**
   * Saves what changed in the credentials.
   * @param {object} update
   */
  saveCreds(update) {
    Object.assign(this.creds, update)
    const notes = this.creds.processedHistoryMessages
    if (notes?.length > HISTORY_NOTES_MAX)
      this.creds.processedHistoryMessages = notes.slice(-HISTORY_NOTES_MAX)
    if (!this.isLinked) return
    const changed = {}
    for (const [field, value] of Object.entries(this.creds)) {
      const text = value === undefined ? undefined : toText(value)
      if (text === undefined || text === this.#creds.get(field)) continue
      this.#creds.set(field, text)
      changed[field] = JSON.parse(text)
    }
    if (Object.keys(changed).length) this.#append({ creds: changed })
  }

  /** Forgets the login; messages stay. */
  wipeLogin() {
    this.creds = undefined
    this.#creds.clear()
    this.#keys.clear()
    if (this.#journal.isOpen) this.#append({ wipe: true })
  }

  /** The key store that Baileys is given. */
  keys = {
    get: async (type, ids) => {
      const known = this.#keys.get(type)
      const found = {}
      for (const id of ids) {
        const text = known?.get(String(id))
        if (text === undefined) continue
        const value = toValue(text)
        found[id] =
          type === 'app-state-sync-key' ? proto.Message.AppStateSyncKeyData.fromObject(value) : value
      }
      return found
    },
    set: async changes => {
      const touched = []
      for (const [type, values] of Object.entries(changes)) {
        for (const [id, value] of Object.entries(values)) {
          this.#setKey(type, id, value === null || value === undefined ? undefined : toText(value))
          touched.push({ type, id, name: `${type} ${id}` })
        }
      }
      const scope = this.#scope.getStore()
      if (scope?.isOpen) for (const key of touched) scope.touched.set(key.name, key)
      else if (this.isLinked) this.#saveKeys(touched)
    },
    /** Resolves when all that was set is durable. */
    commit: async () => {
      await Promise.all([...this.#receiving].filter(scope => scope.isShared).map(scope => scope.closed))
      this.#guarded(() => this.#journal.sync())
    }
  }

  /** Saves keys that were changed outside of a `receive`. */
  #saveKeys(touched) {
    const keys = touched.filter(({ name }) => {
      // A key that a message being received has changed too is saved with that: alone, a crash would lose the message.
      const scope = [...this.#receiving].find(one => one.touched.has(name))
      if (scope) scope.isShared = true
      return !scope
    })
    const durable = !keys.every(({ type }) => RATCHETS.has(type))
    if (keys.length) this.#append({ keys: this.#current(keys) }, { durable })
  }

  /**
   * Runs `work` (the decryption of one message) and saves the keys that it changed together with the message
   * that it returns, in one record. A message that was kept before is not kept again: senders repeat what they
   * have no receipt for.
   * @param {() => Promise<object | undefined>} work
   * @returns {Promise<object | undefined>} the message with its number
   */
  async receive(work) {
    const scope = { isOpen: true, isShared: false, touched: new Map() }
    scope.closed = new Promise(resolve => (scope.close = resolve))
    this.#receiving.add(scope)
    let message
    try {
      const received = await this.#scope.run(scope, work)
      if (received && !this.has(received)) message = { seq: ++this.seq, ...received }
    } finally {
      scope.isOpen = false
      this.#receiving.delete(scope)
      const keys = scope.touched.size ? this.#current(scope.touched.values()) : undefined
      // Before there is a login nothing is saved: what the phone sends comes after it.
      if (this.isLinked && (keys || message))
        this.#append({ ...(keys && { keys }), ...(message && { msg: message }) })
      if (message) this.#keep(message)
      scope.close()
    }
    return message
  }

  /** @param {{id: string, from: object}} message @returns {boolean} whether it was kept lately */
  has(message) {
    return this.#recent.has(nameOf(message))
  }

  #keep(message) {
    this.inbox.push(message)
    // Not one that could not be decrypted: its repetition is to be shown.
    if (message.kind !== 'undecryptable') this.#remember(nameOf(message))
  }

  #remember(name) {
    this.#recent.add(name)
    if (this.#recent.size > RECENT_MAX) this.#recent.delete(this.#recent.values().next().value)
  }

  /**
   * The gateway has stored the messages up to `seq`.
   * @param {number} seq
   */
  ack(seq) {
    const before = this.inbox.length
    while (this.inbox.length && this.inbox[0].seq <= seq) this.inbox.shift()
    if (this.inbox.length === before) return
    this.#append({ ack: seq }, { durable: false })
    this.#hasOld = true
  }

  /** Takes acknowledged messages out of the file: of what the gateway forgets nothing may be left here. */
  tidy() {
    if (!this.#hasOld || !this.#journal.isOpen) return
    // While a message is being received the file must not be rewritten: the next record does it.
    if (this.#receiving.size) this.#compactAt = 0
    else this.#guarded(() => this.#rewrite())
  }

  close() {
    this.tidy()
    this.#journal.close()
  }

  #setKey(type, id, text) {
    let known = this.#keys.get(type)
    if (!known) this.#keys.set(type, (known = new Map()))
    if (text === undefined) known.delete(id)
    else known.set(id, text)
  }

  /** The present values of keys; they may have been changed again since they were noted. */
  #current(touched) {
    const keys = {}
    for (const { type, id } of touched) {
      const text = this.#keys.get(type)?.get(id)
      keys[type] ??= {}
      keys[type][id] = text === undefined ? null : JSON.parse(text)
    }
    return keys
  }

  #apply({ seq, recent, wipe, creds, keys, msg, ack }) {
    if (seq !== undefined) this.seq = seq
    for (const name of recent ?? []) this.#remember(name)
    if (wipe) {
      this.#creds.clear()
      this.#keys.clear()
    }
    for (const [field, value] of Object.entries(creds ?? {})) this.#creds.set(field, JSON.stringify(value))
    for (const [type, values] of Object.entries(keys ?? {})) {
      for (const [id, value] of Object.entries(values)) {
        this.#setKey(type, id, value === null ? undefined : JSON.stringify(value))
      }
    }
    if (msg) {
      this.seq = Math.max(this.seq, msg.seq)
      this.#keep(msg)
    }
    if (ack !== undefined) {
      this.inbox = this.inbox.filter(message => message.seq > ack)
      this.#hasOld = true
    }
  }

  #append(record, options) {
    this.#guarded(() => {
      // Not while a message is being received: the snapshot would have its keys as used up, without the message.
      const isRoomy = this.#journal.size <= this.#compactAt || this.#receiving.size > 0
      // After a `wipe` nothing of the login may be left in the file.
      if (this.#journal.isOpen && isRoomy && !record.wipe) return this.#journal.append(record, options)
      this.#rewrite(record.msg)
      this.damaged = undefined
    })
  }

  /** Replaces the file by a snapshot of what is still needed; `newest` is a message that is not in the inbox yet. */
  #rewrite(newest) {
    this.#journal.rewrite(this.#snapshot(newest))
    this.#planCompaction()
    this.#hasOld = false
  }

  /** Writes; nothing may go on if that fails. */
  #guarded(write) {
    try {
      write()
    } catch (error) {
      this.#onFailure(error)
    }
  }

  #planCompaction() {
    this.#compactAt = 2 * this.#journal.size + JOURNAL_SLACK_BYTES
  }

  *#snapshot(newest) {
    yield { v: FORMAT, seq: this.seq, recent: [...this.#recent] }
    const creds = Object.fromEntries([...this.#creds].map(([field, text]) => [field, JSON.parse(text)]))
    if (this.#creds.size) yield { creds }
    for (const [type, values] of this.#keys) {
      const entries = [...values]
      for (let at = 0; at < entries.length; at += KEYS_PER_RECORD) {
        const part = entries.slice(at, at + KEYS_PER_RECORD).map(([id, text]) => [id, JSON.parse(text)])
        yield { keys: { [type]: Object.fromEntries(part) } }
      }
    }
    for (const msg of this.inbox) yield { msg }
    if (newest) yield { msg: newest }
  }
}
