// Errors as the gateway gets them in answers. Thrown wherever a request fails, written by main.mjs.
import { redacted } from './redact.mjs'

/** A request that failed in a way the gateway can act on. */
export class RequestError extends Error {
  /**
   * @param {string} code one word for programs
   * @param {string} text for people, lower case, no full stop
   * @param {boolean} retry whether the same request may succeed later
   */
  constructor(code, text, retry = false) {
    super(text)
    this.code = code
    this.retry = retry
  }
}

/** @param {string} text what is wrong with the request */
export const invalid = text => new RequestError('invalid', text)
/** The answer to a request that needs a connection to WhatsApp when there is none. */
export const notConnected = () => new RequestError('not-connected', 'not connected to WhatsApp', true)
/** The answer to a request that needs a login when there is none. */
export const unlinked = () => new RequestError('unlinked', 'not linked to a phone')

/** HTTP-like codes by which Baileys says that the connection went away under a request. */
const CONNECTION_CODES = new Set([408, 428, 440, 503, 515])

/**
 * Any error as the members of a failed answer.
 * @param {any} error
 * @returns {{code: string, error: string, retry: boolean}}
 */
export function asAnswer(error) {
  if (error instanceof RequestError) return { code: error.code, error: redacted(error), retry: error.retry }
  const status = error?.output?.statusCode
  if (CONNECTION_CODES.has(status)) return { code: 'not-connected', error: redacted(error), retry: true }
  if (error?.data === 429 || status === 429)
    return { code: 'rate-limited', error: redacted(error), retry: true }
  return { code: 'failed', error: redacted(error), retry: true }
}
