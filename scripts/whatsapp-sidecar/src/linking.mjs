// Linking this device to a phone, by a QR code or by a code that is typed on the phone. Knows nothing of the connection
// but what it offers.
import { RequestError, invalid } from './errors.mjs'
import { isPhone } from './identity.mjs'
import { CODE_MS, QR_FIRST_MS, QR_NEXT_MS } from './limits.mjs'

/** One attempt at a time; it ends when the phone accepts, the codes run out, or `cancel` is called. */
export class Linking {
  #emit
  /** Number of the phone that is to type a code; undefined for QR codes. */
  #phone
  /** QR codes offered in this attempt. */
  #count = 0
  #hasAskedForCode = false
  /** Ends the request for a code: `{resolve, reject}`. */
  #settle

  /** @param {(event: object) => void} emit */
  constructor(emit) {
    this.#emit = emit
  }

  /**
   * Begins an attempt.
   * @param {{mode: string, phone?: string}} request
   * @returns {Promise<object>} the answer: with `code` and `ttlMs` when a code was asked for
   */
  begin({ mode, phone }) {
    if (mode !== 'qr' && mode !== 'code') throw invalid('`mode` is neither `qr` nor `code`')
    if (mode === 'code' && !isPhone(phone)) throw invalid('`phone` is no number like +15550001111')
    this.#phone = mode === 'code' ? phone : undefined
    this.#count = 0
    this.#hasAskedForCode = false
    if (mode === 'qr') return Promise.resolve({})
    return new Promise((resolve, reject) => (this.#settle = { resolve, reject }))
  }

  /**
   * The server offers a QR code. A pairing code may be asked for only now.
   * @param {string} data
   * @param {object} sock
   */
  async onQr(data, sock) {
    if (!this.#phone) {
      const ttlMs = this.#count++ ? QR_NEXT_MS : QR_FIRST_MS
      this.#emit({ ev: 'qr', data, ttlMs, count: this.#count })
      return
    }
    if (this.#hasAskedForCode) return
    this.#hasAskedForCode = true
    try {
      const code = await sock.requestPairingCode(this.#phone.slice(1))
      this.#settle?.resolve({ code, ttlMs: CODE_MS })
    } catch (error) {
      this.#settle?.reject(error)
    }
    this.#settle = undefined
  }

  /** The attempt is over, whatever came of it. */
  cancel(reason = 'cancelled') {
    this.#settle?.reject(new RequestError('link-failed', `no code could be had: ${reason}`, true))
    this.#settle = undefined
  }
}
