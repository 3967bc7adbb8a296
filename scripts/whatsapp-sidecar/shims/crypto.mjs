// Stands for Baileys' WebAssembly helper: the four things that Baileys takes from it, on Node's own crypto, which
// saves 12 MB.
import { createHash, hkdfSync } from 'node:crypto'

const INTEGRITY_BYTES = 128

export const md5 = bytes => createHash('md5').update(bytes).digest()

export function hkdf(secret, length, { salt, info } = {}) {
  return Buffer.from(hkdfSync('sha256', secret, salt ?? Buffer.alloc(0), info ?? '', length))
}

export function expandAppStateKeys(key) {
  const keys = hkdf(key, 160, { info: 'WhatsApp Mutation Keys' })
  return {
    indexKey: keys.subarray(0, 32),
    valueEncryptionKey: keys.subarray(32, 64),
    valueMacKey: keys.subarray(64, 96),
    snapshotMacKey: keys.subarray(96, 128),
    patchMacKey: keys.subarray(128, 160)
  }
}

export class LTHashAntiTampering {
  subtractThenAdd(base, removed, added) {
    return this.#mix(this.#mix(base, removed, -1), added, 1)
  }

  #mix(base, items, sign) {
    const sum = Buffer.from(base)
    for (const item of items) {
      const term = hkdf(item, INTEGRITY_BYTES, { info: 'WhatsApp Patch Integrity' })
      for (let i = 0; i < INTEGRITY_BYTES; i += 2) {
        sum.writeUInt16LE((sum.readUInt16LE(i) + sign * term.readUInt16LE(i)) & 0xffff, i)
      }
    }
    return sum
  }
}
