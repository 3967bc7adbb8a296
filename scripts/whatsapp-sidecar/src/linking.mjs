// Links this device to a phone: shows the gateway the QR codes that the server offers, or gets a code to be typed on
// the phone. Made by sidecar.mjs; knows nothing of how the connection is made, nor of the login that follows.
import { RequestError, invalid } from './errors.mjs'
import { isPhone } from './identity.mjs'
import { CODE_MS, QR_FIRST_MS, QR_NEXT_MS } from './limits.mjs'
import { writeLine } from './stdio.mjs'

/** One attempt at a time; it ends when the phone accepts, the codes run out, or `cancel` is called. */
export class Linking {
  /** Number of the phone that is to type a code; undefined for QR codes. */
  #phone
  /** QR codes offered in this attempt. */
  #count = 0
  #hasAskedForCode = false
  /** Settles the answer to `link` that waits for a code: `{resolve, reject}`. */
  #waiting

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
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }))
  }

  /**
   * The server offers a QR code. Only from then on does it give out a code to type.
   * @param {object} sock
   * @param {string} data of the QR code
   */
  async onQr(sock, data) {
    if (!this.#phone) {
      const ttlMs = this.#count++ ? QR_NEXT_MS : QR_FIRST_MS
      writeLine({ ev: 'qr', data, ttlMs, count: this.#count })
      return
    }
    if (this.#hasAskedForCode) return
    this.#hasAskedForCode = true
    try {
      const code = await sock.requestPairingCode(this.#phone.slice(1))
      this.#waiting?.resolve({ code, ttlMs: CODE_MS })
    } catch (error) {
      this.#waiting?.reject(error)
    }
    this.#waiting = undefined
  }

  /** The attempt is over, whatever came of it. */
  cancel(reason = 'cancelled') {
    this.#waiting?.reject(new RequestError('link-failed', `no code could be had: ${reason}`, true))
    this.#waiting = undefined
  }
}
