// Inbound messages on their way to the gateway: saved before the server gets a receipt, shown a bounded number at a
// time, and shown again after a restart until the gateway acknowledges them. Made by sidecar.mjs; knows nothing of
// what is in a message.
import { inboundOf, undecryptableOf } from './inbound.mjs'
import { invalid } from './errors.mjs'
import { INBOX_HIGH, INBOX_LOW, UNACKED_MAX, UNDECRYPTABLE_MS } from './limits.mjs'
import { isCongested, onceDrained, writeLine } from './stdio.mjs'

/** Whether the sender made this copy of a message because Baileys asked for one. */
const isRepetition = ({ content }) => Array.isArray(content) && content.some(({ attrs }) => attrs?.count)

/** Takes messages from the connection, saves them in the store and shows them to the gateway. */
export class Inbox {
  #store
  #hold
  #subjectOf
  /** Whether the server is not read. */
  #isHeld = false
  /** Messages of the store's inbox that the gateway has been shown. */
  #shown = 0
  /** Whether showing goes on by itself once the gateway has read. */
  #isWaiting = false
  /** Timers of messages that could not be decrypted and may come again, by id. */
  #undecryptable = new Map()

  /**
   * @param {import('./store.mjs').Store} store
   * @param {(isHeld: boolean) => void} hold stops or starts reading from the server
   * @param {(jid: string) => string | undefined} subjectOf
   */
  constructor(store, hold, subjectOf) {
    this.#store = store
    this.#hold = hold
    this.#subjectOf = subjectOf
  }

  /**
   * Decrypts a message and saves it together with the keys that this used up. Baileys sends the receipt then.
   * @param {object} sock
   * @param {object} node as it came from the server
   * @param {object} message Baileys' view; `decrypt` fills it
   * @param {() => Promise<void>} decrypt
   */
  async receive(sock, node, message, decrypt) {
    const context = this.#context(sock, Boolean(node.attrs.offline))
    const undecryptable = await undecryptableOf(message, context)
    // The server repeats what it has no receipt for, which a crash may have prevented. The keys of such a message are
    // used up: to decrypt it again would fail, and make Baileys ask the sender for a new copy.
    if (this.#store.has(undecryptable) && !isRepetition(node)) return
    await this.#store.receive(async () => {
      await decrypt()
      if (message.messageStubType === undefined && !message.key.isViewOnce) {
        this.#stopExpecting(undecryptable.id)
        return inboundOf(message, context)
      }
      if (message.category === 'peer') return undefined
      if (message.key.isViewOnce) return { ...undecryptable, viewOnce: true }
      if (!this.#store.has(undecryptable)) this.#expectAgain(undecryptable)
      return undefined
    })
    this.#show()
  }

  /** Takes in a message that the phone repeats, because it had come without content. */
  async receiveLate(sock, message) {
    this.#stopExpecting(message.key.id)
    await this.#store.receive(() => inboundOf(message, this.#context(sock, true)))
    this.#show()
  }

  /** Shows everything unacknowledged, from the start. */
  replay() {
    this.#shown = 0
    this.#show()
  }

  /** @param {unknown} seq the gateway has stored the messages up to it */
  ack(seq) {
    if (!Number.isSafeInteger(seq) || seq < 0) throw invalid('`seq` is no message number')
    const before = this.#store.inbox.length
    this.#store.ack(seq)
    this.#shown = Math.max(0, this.#shown - (before - this.#store.inbox.length))
    this.#show()
  }

  #context(sock, offline) {
    return {
      creds: this.#store.creds,
      mapping: sock.signalRepository.lidMapping,
      subjectOf: this.#subjectOf,
      offline
    }
  }

  /** Baileys asks the sender to repeat it; only when no repetition comes is the gateway shown that there was one. */
  #expectAgain(undecryptable) {
    const { id } = undecryptable
    if (this.#undecryptable.has(id)) return
    const timer = setTimeout(async () => {
      this.#undecryptable.delete(id)
      await this.#store.receive(async () => undecryptable)
      this.#show()
    }, UNDECRYPTABLE_MS)
    this.#undecryptable.set(id, timer)
  }

  #stopExpecting(id) {
    clearTimeout(this.#undecryptable.get(id))
    this.#undecryptable.delete(id)
  }

  /** Shows as many messages as may be, and holds the server when too many wait. */
  #show() {
    const { inbox } = this.#store
    while (this.#shown < Math.min(UNACKED_MAX, inbox.length) && !isCongested()) {
      writeLine({ ev: 'msg', ...inbox[this.#shown++] })
    }
    if (isCongested() && !this.#isWaiting) {
      this.#isWaiting = true
      onceDrained(() => {
        this.#isWaiting = false
        this.#show()
      })
    }
    const isHeld = inbox.length > (this.#isHeld ? INBOX_LOW : INBOX_HIGH)
    if (isHeld !== this.#isHeld) this.#hold((this.#isHeld = isHeld))
  }
}
