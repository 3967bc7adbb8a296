// The bodies of messages that were sent: a contact that could not read one makes Baileys ask for it again, and after
// a restart only the gateway still has it. Made by sidecar.mjs; knows nothing of sending.
import { proto } from 'baileys'
import { RequestError, invalid } from './errors.mjs'
import { checkedJid, isChat, isSameChat } from './identity.mjs'
import { BODY_MS, ID_CHARS_MAX } from './limits.mjs'
import { writeLine } from './stdio.mjs'

/** Asks the gateway for bodies, and takes its answers (`sent-body`). */
export class SentBodies {
  /** Bodies that the gateway has been asked for, by the message's id: `{chat, mapping, settle}`. */
  #requests = new Map()

  /**
   * Asks the gateway for the body of a message.
   * @param {{id?: string, remoteJid?: string} | undefined} key of the message, as Baileys has it
   * @param {object} mapping Baileys' table of LIDs and phone numbers
   * @returns {Promise<object | undefined>} undefined when the gateway has none, or takes longer than `BODY_MS`
   */
  async fetch(key, mapping) {
    const { id, remoteJid: chat } = key ?? {}
    // Whoever writes to us may make Baileys ask for anything, and more than once at a time.
    if (!id || id.length > ID_CHARS_MAX || !isChat(chat) || this.#requests.has(id)) return undefined
    return new Promise(resolve => {
      const timer = setTimeout(() => settle(undefined), BODY_MS)
      const settle = body => {
        clearTimeout(timer)
        this.#requests.delete(id)
        resolve(body)
      }
      this.#requests.set(id, { chat, mapping, settle })
      writeLine({ ev: 'need-body', id, chat })
    })
  }

  /**
   * The gateway's answer to `need-body`.
   * @param {{id: string, to: string, proto?: string | null}} request `to` is the chat that it was sent to
   */
  async settle({ id, to, proto: body }) {
    const request = this.#requests.get(id)
    if (!request) throw invalid('nobody waits for this body')
    try {
      // Another contact may have seen the id and ask with it.
      const isTheirs = body && (await isSameChat(request.chat, checkedJid(to, 'to'), request.mapping))
      request.settle(isTheirs ? proto.Message.decode(Buffer.from(body, 'base64')) : undefined)
    } catch (error) {
      request.settle(undefined)
      throw error instanceof RequestError ? error : invalid('`proto` is no message')
    }
  }
}
