// Addresses as the mock makes them, for every module of it.
import { randomBytes } from 'node:crypto'

export const SERVER = 's.whatsapp.net'
export const pnJid = (user, device) => (device ? `${user}:${device}@${SERVER}` : `${user}@${SERVER}`)
export const lidJid = (user, device) => (device ? `${user}:${device}@lid` : `${user}@lid`)
/** The LID that the mock gives to the owner of a number. */
export const lidOf = pn => `2${pn.padStart(14, '0')}`
export const newId = () => `3A${randomBytes(9).toString('hex').toUpperCase()}`
export const isGroup = jid => jid.endsWith('@g.us')
/** The digits before the device and server of a jid, or of a number as people write it. */
export const digits = text =>
  String(text)
    .replace(/[@:].*/, '')
    .replace(/\D/g, '')
