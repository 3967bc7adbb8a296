// Why a connection ended, and what follows. Pure; called by connection.mjs at each close.

/**
 * What follows a close: `retry` after a delay, `restart` at once, `relink` (the login is gone or never was;
 * only a new link helps), `stop` (a person has to act, the login is kept).
 * @typedef {'retry' | 'restart' | 'relink' | 'stop'} Action
 */

/**
 * By the status code of the error that Baileys ends with.
 * @type {Record<number, {reason: string, action: Action, wipesLogin?: boolean, isSlow?: boolean}>}
 */
const CLOSES = {
  401: { reason: 'logged-out', action: 'relink', wipesLogin: true },
  403: { reason: 'forbidden', action: 'stop' },
  405: { reason: 'outdated', action: 'retry', isSlow: true },
  408: { reason: 'timed-out', action: 'retry' },
  411: { reason: 'multi-device-mismatch', action: 'stop' },
  428: { reason: 'connection-closed', action: 'retry' },
  440: { reason: 'replaced', action: 'stop' },
  500: { reason: 'server-error', action: 'retry' },
  503: { reason: 'unavailable', action: 'retry' },
  515: { reason: 'restart-required', action: 'restart' }
}
const OTHER = { reason: 'connection-failed', action: 'retry' }

/**
 * @param {object} close
 * @param {number} close.code status code of the error that Baileys ended with
 * @param {number} [close.http] status of an HTTP answer where a WebSocket was wanted
 * @param {boolean} close.isLinked whether there is a login
 * @param {boolean} close.isBadSession whether the server has refused the login with 500 too often
 * @returns {{code: number, reason: string, action: Action, wipesLogin?: boolean, isSlow?: boolean}}
 */
export function closeOf({ code, http, isLinked, isBadSession }) {
  // A proxy or a portal answered; its 401 and 403 say nothing about the login.
  if (http !== undefined) return { code: http, reason: 'http-refused', action: isLinked ? 'retry' : 'relink' }
  const found = { code, ...(CLOSES[code] ?? OTHER) }
  if (!isLinked && found.action !== 'restart') {
    return { code, reason: code === 408 ? 'link-expired' : found.reason, action: 'relink' }
  }
  if (code === 500 && isBadSession) return { code, reason: 'bad-session', action: 'retry', isSlow: true }
  return found
}
