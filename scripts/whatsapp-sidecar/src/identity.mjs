// Who a jid stands for: WhatsApp addresses one person by a phone number (PN) and by a number of its own (LID). Pure,
// for every module; knows nothing of messages.
import { jidDecode, jidNormalizedUser } from 'baileys'
import { invalid } from './errors.mjs'
import { ID_CHARS_MAX } from './limits.mjs'

export const isLid = jid => /@(?:hosted\.)?lid$/.test(jid ?? '')
export const isPn = jid => /@(?:s\.whatsapp\.net|hosted|c\.us)$/.test(jid ?? '')
export const isGroup = jid => (jid ?? '').endsWith('@g.us')
/** Whether it is the address of a person or group, and no longer than those are. */
export const isChat = jid =>
  typeof jid === 'string' && jid.length <= ID_CHARS_MAX && (isGroup(jid) || isLid(jid) || isPn(jid))
/** @param {unknown} jid @param {string} name of the request's member that it stands in @returns {string} the jid */
export function checkedJid(jid, name) {
  if (isChat(jid)) return jid
  throw invalid(`\`${name}\` is no jid of a person or group`)
}
/** Whether it is of status posts, a broadcast or a newsletter: these are never shown to the gateway. */
export const isIgnored = jid => /@(?:broadcast|newsletter)$/.test(jid ?? '')

/** @param {string | undefined} jid @returns {string | undefined} without the device, or undefined */
export const bare = jid => (jid ? jidNormalizedUser(jid) || undefined : undefined)

/** @param {string | undefined} jid @returns {string | undefined} "+15550001111" of a phone number's jid */
export const phoneOf = jid => (isPn(jid) ? `+${jidDecode(jid).user}` : undefined)

/** @param {string} phone in E.164 @returns {string} its jid */
export const jidOfPhone = phone => `${phone.slice(1)}@s.whatsapp.net`

/** @param {unknown} text @returns {boolean} whether it is a phone number in E.164 */
export const isPhone = text => typeof text === 'string' && /^\+[1-9][0-9]{5,14}$/.test(text)

/**
 * One person from the jids known of them.
 * @param {(string | undefined)[]} jids
 * @param {{getPNForLID: Function} | undefined} mapping Baileys' table, asked for a missing number
 * @returns {Promise<{jid: string, pn?: string, lid?: string}>} `jid` is the first that was given
 */
export async function personOf(jids, mapping) {
  const known = jids.map(bare).filter(Boolean)
  const lid = known.find(isLid)
  let pn = known.find(isPn)
  if (!pn && lid) pn = bare(await mapping?.getPNForLID(lid))
  return { jid: known[0], ...(pn && { pn: phoneOf(pn) }), ...(lid && { lid }) }
}

/**
 * Whether two addresses are of one chat; a person has two.
 * @param {string} one
 * @param {string} other
 * @param {{getPNForLID: Function}} mapping
 */
export async function isSameChat(one, other, mapping) {
  if (bare(one) === bare(other)) return true
  if (isGroup(one) || isGroup(other)) return false
  const [a, b] = await Promise.all([personOf([one], mapping), personOf([other], mapping)])
  return a.pn !== undefined && a.pn === b.pn
}

/**
 * The account that is linked, as events and answers have it (`me`).
 * @param {object | undefined} creds
 * @returns {{pn?: string, lid?: string, name?: string} | undefined}
 */
export function selfOf(creds) {
  const me = creds?.account && creds.me
  if (!me) return undefined
  const lid = bare(me.lid)
  return { pn: phoneOf(bare(me.id)), ...(lid && { lid }), ...(me.name && { name: me.name }) }
}

/**
 * @param {object} creds of the login
 * @param {string | undefined} jid
 * @returns {boolean} whether it is of the linked account
 */
export function isMe(creds, jid) {
  const one = bare(jid)
  return Boolean(one) && (one === bare(creds.me?.id) || one === bare(creds.me?.lid))
}
