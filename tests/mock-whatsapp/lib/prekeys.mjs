// Pre-keys: the keys by which a session with a device is begun, each used once. Called by queries.mjs and
// incoming.mjs.
import { el, encodeBigEndian } from './wa.mjs'

/** A client's next unused pre-key, which is used up by that; undefined if it has none left. */
export function popPreKey(companion) {
  const [first] = companion.preKeys
  if (!first) return undefined
  companion.preKeys.delete(first[0])
  return { id: first[0], public: first[1] }
}

/** A pre-key as it stands in stanzas. */
export const preKeyNode = ({ id, public: value }) =>
  el('key', {}, [el('id', {}, encodeBigEndian(id, 3)), el('value', {}, value)])
