// What people send to a client: messages (kept until it has them), receipts, and repetitions. Called by control.mjs
// for what a test makes people do, by server.mjs for what the client says of it.
import { randomBytes } from 'node:crypto'
import * as libsignal from 'libsignal'
import { SERVER, digits, isGroup, lidJid, newId, pnJid } from './jids.mjs'
import { encryptRenewal } from './media.mjs'
import { addressOf } from './people.mjs'
import { popPreKey } from './prekeys.mjs'
import { allKids, el, generateSignalPubKey, kid, kids, nowSec } from './wa.mjs'

const RETRIES_MAX = 5
/** Types of receipts that do not say that a message has arrived. */
const NO_ARRIVAL = new Set(['hist_sync', 'read', 'retry', 'server-error'])

/** A client wants its messages: it gets those that waited, and from now on each as it comes. */
export function pushBacklog(wa, conn) {
  const { account, companion } = conn
  companion.active = true
  const ib = content => wa.send(conn, el('ib', { from: SERVER }, [content]))
  const { edgeRouting, offlineEnd } = wa.knobs
  if (edgeRouting) ib(el('edge_routing', {}, [el('routing_info', {}, Buffer.from([8, 13, 8, 5]))]))
  const count = companion.pending.length
  if (count) ib(el('offline_preview', { count, message: count, notification: 0, receipt: 0 }))
  for (const stanza of companion.pending) push(wa, companion, stanza, { offline: true })
  if (offlineEnd) ib(el('offline', { count }))
  wa.log('active', { account: account.pn, device: companion.id, offline: count })
}

/** A person writes to an account, or to a group that it is in; or (`self`) its owner writes on the phone. */
export async function inbound(wa, request) {
  const { from, group, message, id, type = 'text', t, garbleTimes = 0, self, companion } = request
  const account = wa.people.account(request.account)
  const person = self ? account : wa.people.person(from)
  const mode = request.addressing || wa.people.groups.get(group)?.addressing || wa.knobs.addressing
  const isLid = mode === 'lid'
  const nameOf = (who, device) => (isLid ? lidJid(who.lid, device) : pnJid(who.pn, device))
  const otherOf = who => (isLid ? pnJid(who.pn) : lidJid(who.lid))
  const other = isLid ? 'pn' : 'lid'
  const attrs = { type, notify: request.pushName || person.name, addressing_mode: mode }
  const item = {
    id: id || newId(),
    t: t || nowSec(),
    sender: self ? account.phone : person.devices[companion || 0],
    message,
    group,
    garbleTimes,
    attrs,
    fromJid: group || nameOf(person, companion)
  }
  if (group)
    Object.assign(attrs, {
      participant: nameOf(person, companion),
      [`participant_${other}`]: otherOf(person)
    })
  else if (self) {
    const peer = wa.people.person(from)
    item.sentTo = nameOf(peer)
    Object.assign(attrs, { recipient: item.sentTo, [`peer_recipient_${other}`]: otherOf(peer) })
  } else attrs[`sender_${other}`] = otherOf(person)
  return { id: item.id, live: await deliver(wa, account, item) }
}

/** Encrypts a message for every linked client, and pushes it to those that are there. */
async function deliver(wa, account, item) {
  let live = 0
  for (const companion of account.companions.values()) {
    if (await queue(wa, account, companion, item)) live++
  }
  return live
}

/**
 * Encrypts a message for a client and keeps that copy until the client has said what became of it. The server
 * repeats it as it is; only a sender makes another one.
 */
function queue(wa, account, companion, item, count) {
  return item.sender.exclusive(async () => {
    const stanza = { item, encs: await encrypted(account, companion, item, count) }
    companion.pending.push(stanza)
    return push(wa, companion, stanza, { count })
  })
}

/** A client has received the oldest copy of a message: that copy is not sent again. */
export function settle(companion, id) {
  const at = companion?.pending.findIndex(({ item }) => item.id === id) ?? -1
  if (at >= 0) companion.pending.splice(at, 1)
}

/** What an account's phone tells its linked client. */
export async function fromPhone(wa, account, companion, message) {
  const attrs = { type: 'text', category: 'peer', push_priority: 'high_force' }
  const item = { id: newId(), t: nowSec(), sender: account.phone, message, attrs }
  item.fromJid = pnJid(account.pn)
  await queue(wa, account, companion, item)
}

/** The content of a message for one client; `count` when the client has asked for it again. */
async function encrypted(account, companion, item, count) {
  const address = addressOf(account, companion)
  const { sender, group, message } = item
  if (count || !(await sender.hasSession(address))) await startSession(sender, address, companion)
  const garbled = item.garbleTimes > (count ?? 0)
  const enc = ({ type, data }) =>
    el('enc', { v: 2, type, count }, garbled ? Buffer.concat([data.subarray(0, -4), randomBytes(4)]) : data)
  const encs = []
  if (!group) {
    const body = item.sentTo ? { deviceSentMessage: { destinationJid: item.sentTo, message } } : message
    encs.push(enc(await sender.encrypt(address, body)))
  } else {
    const self = new libsignal.ProtocolAddress(sender.user, sender.id)
    const known = (sender.keyKnownTo ??= new Set())
    if (count || !known.has(group + companion.id)) {
      const skdm = {
        groupId: group,
        axolotlSenderKeyDistributionMessage: await sender.groupSkdm(group, self)
      }
      const body = { senderKeyDistributionMessage: skdm, ...(count ? message : {}) }
      encs.push(enc(await sender.encrypt(address, body)))
      known.add(group + companion.id)
    }
    if (!count) encs.push(enc({ type: 'skmsg', data: await sender.groupEncrypt(group, self, message) }))
  }
  return encs
}

function startSession(sender, address, companion) {
  const preKey = popPreKey(companion)
  return sender.startSession(address, {
    registrationId: companion.registrationId,
    identityKey: generateSignalPubKey(companion.identityPub),
    signedPreKey: {
      keyId: companion.signed.id,
      publicKey: generateSignalPubKey(companion.signed.pub),
      signature: companion.signed.sig
    },
    preKey: preKey && { keyId: preKey.id, publicKey: generateSignalPubKey(preKey.public) }
  })
}

/** Sends a message to one client, if it is on line. */
function push(wa, companion, { item, encs }, { offline, count } = {}) {
  const { conn } = companion
  if (!companion.active || conn?.ws.readyState !== 1) return false
  wa.sent.set(item.id, item)
  const attrs = {
    from: item.fromJid,
    id: item.id,
    t: item.t,
    ...item.attrs,
    offline: offline ? 1 : undefined
  }
  wa.send(conn, el('message', attrs, encs))
  wa.log('pushed', { id: item.id, from: item.fromJid, offline: !!offline, count })
  return true
}

/** A client's receipt for messages. */
export async function onReceipt(wa, conn, node) {
  const { id, type, to, participant } = node.attrs
  const ids = [id, ...kids(kid(node, 'list')).map(item => item.attrs.id)]
  wa.log('receipt', { ids, kind: type || 'delivered', to, participant })
  if (wa.knobs.ackReceipts) wa.send(conn, el('ack', { class: 'receipt', id, from: to, type, t: nowSec() }))
  if (type === 'retry') await repeat(wa, conn, node)
  if (type === 'server-error') renewMedia(wa, conn, node)
  if (NO_ARRIVAL.has(type)) return
  for (const one of ids) settle(conn.companion, one)
}

/** A client could not read a message: its sender begins a new session. */
async function repeat(wa, conn, node) {
  const { account, companion } = conn
  const item = wa.sent.get(node.attrs.id)
  const count = Number(allKids(node, 'retry')[0]?.attrs.count || 1)
  if (!item || count > RETRIES_MAX) return
  await queue(wa, account, companion, item, count)
}

/** A client finds a file gone, and asks the phone to upload it again. */
function renewMedia(wa, conn, node) {
  const { id, to } = node.attrs
  const { directPath, mediaKey } = fileIn(wa.sent.get(id).message)
  const path = wa.media.renew(directPath)
  wa.log('media-renewal', { id, found: !!path })
  const { iv, data } = encryptRenewal(mediaKey, id, path)
  const content = [
    el('encrypt', {}, [el('enc_p', {}, data), el('enc_iv', {}, iv)]),
    el('rmr', kid(node, 'rmr').attrs)
  ]
  wa.send(conn, el('notification', { from: to, id, type: 'mediaretry', t: nowSec() }, content))
}

/** The part of a message that names a file, however it is wrapped. */
function fileIn(message) {
  if (message.directPath) return message
  for (const part of Object.values(message)) {
    const found = part && typeof part === 'object' && !Buffer.isBuffer(part) ? fileIn(part) : undefined
    if (found) return found
  }
  return undefined
}

/** Sends a client the receipts of people's devices for what it sent. */
export function sendReceipt(wa, { account: number, id, to, type, participant }) {
  const account = wa.people.account(number)
  const tell = attrs => {
    for (const companion of account.companions.values())
      wa.send(companion.conn, el('receipt', { from: to, id, type, t: nowSec(), ...attrs }))
  }
  if (!isGroup(to)) return tell({})
  const group = wa.people.groups.get(to)
  const readers = participant ? [digits(participant)] : group.members.filter(pn => pn !== account.pn)
  for (const pn of readers) tell({ participant: wa.people.memberJid(group, pn) })
}
