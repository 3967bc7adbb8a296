// Descriptions of groups. Every send to a group needs its members, but an account that asks the server each time gets
// limited: they are kept until something changes them. Made by sidecar.mjs.
import { Cache } from './cache.mjs'
import { phoneOf, isLid, isPn, bare } from './identity.mjs'
import { GROUPS_MAX, GROUP_MS } from './limits.mjs'

/** The descriptions that are known. */
export class Groups {
  #known = new Cache(GROUP_MS, GROUPS_MAX)
  /** The last question; the next one waits for it. */
  #asking = Promise.resolve()
  /** Counts the changes that the server has told of: an answer to a question from before one is not kept. */
  #changes = 0

  /** @param {string} jid @returns {string | undefined} */
  subjectOf = jid => this.#known.get(jid)?.subject

  /**
   * The description, asked for if need be; one question at a time.
   * @param {object} sock
   * @param {string} jid
   * @returns {Promise<object>} as Baileys describes it
   */
  fetch(sock, jid) {
    const answer = this.#asking.then(async () => {
      const known = this.#known.get(jid)
      if (known) return known
      const changes = this.#changes
      const found = await sock.groupMetadata(jid)
      if (changes === this.#changes) this.#known.set(jid, found)
      return found
    })
    this.#asking = answer.catch(() => {})
    return answer
  }

  /** Listens to the server: keeps descriptions that it sends by itself, forgets those that it says have changed. */
  listen({ ev, ws }) {
    // Before Baileys' own events, which may wait in its buffer.
    ws.on('CB:notification,type:w:gp2', ({ attrs }) => {
      this.#changes++
      this.#known.del(attrs.from)
    })
    ev.on('groups.upsert', groups => groups.forEach(group => this.#known.set(group.id, group)))
    ev.on('groups.update', updates => {
      for (const group of updates) if (group.participants) this.#known.set(group.id, group)
    })
  }

  /** Forgets everything: nobody told what changed while there was no connection. */
  clear() {
    this.#changes++
    this.#known.flushAll()
  }
}

/**
 * A group as the gateway is shown it.
 * @param {object} group
 */
export function groupView(group) {
  return {
    jid: group.id,
    subject: group.subject,
    participants: group.participants.map(({ id, lid, phoneNumber, admin }) => {
      const jids = [id, lid, phoneNumber].map(bare)
      const pn = phoneOf(jids.find(isPn))
      const own = jids.find(isLid)
      return { jid: jids[0], ...(pn && { pn }), ...(own && { lid: own }), admin: Boolean(admin) }
    })
  }
}
