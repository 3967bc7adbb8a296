// A small map with an age and a size limit, in the shape that Baileys expects of a cache. For Baileys and for
// whatever the sidecar itself remembers for a while.
import { CACHE_MAX } from './limits.mjs'

/** @template V */
export class Cache {
  #entries = new Map()
  #ageMs
  #max

  /** @param {number} ageMs how long an entry counts @param {number} [max] the oldest go first */
  constructor(ageMs, max = CACHE_MAX) {
    this.#ageMs = ageMs
    this.#max = max
  }

  /** @param {string} key @returns {V | undefined} */
  get(key) {
    const entry = this.#entries.get(key)
    if (entry && performance.now() - entry.since <= this.#ageMs) return entry.value
    this.#entries.delete(key)
    return undefined
  }

  /** @param {string} key @param {V} value */
  set(key, value) {
    this.#entries.delete(key)
    this.#entries.set(key, { value, since: performance.now() })
    if (this.#entries.size > this.#max) this.#entries.delete(this.#entries.keys().next().value)
    return true
  }

  /** @param {string} key */
  del(key) {
    return this.#entries.delete(key) ? 1 : 0
  }

  flushAll() {
    this.#entries.clear()
  }
}
