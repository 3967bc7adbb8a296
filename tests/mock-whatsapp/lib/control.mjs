// What a test can make the mock do: by name, (wa, request) -> result. The README lists the members. Called by
// server.mjs.
import { createHash, randomBytes } from 'node:crypto'
import { inbound, sendReceipt } from './incoming.mjs'
import { digits, lidJid, newId, pnJid } from './jids.mjs'
import { scanQr } from './login.mjs'
import { encryptMedia } from './media.mjs'
import { enterCode } from './paircode.mjs'
import { addressOf } from './people.mjs'
import { preKeyNode } from './prekeys.mjs'
import { el, encodeBigEndian, nowSec, proto } from './wa.mjs'

const MIME = {
  image: 'image/jpeg',
  audio: 'audio/ogg; codecs=opus',
  video: 'video/mp4',
  document: 'application/pdf',
  sticker: 'image/webp'
}

const accountOf = (wa, { account }) => wa.people.account(account)

/** Sends a node to every linked client of an account. */
function tell(wa, request, nodeFor) {
  for (const companion of accountOf(wa, request).companions.values()) wa.send(companion.conn, nodeFor(companion))
}

export const control = {
  status,
  set: (wa, { knobs }) => Object.assign(wa.knobs, knobs),
  'scan-qr': (wa, request) => scanQr(wa, request.qr, accountOf(wa, request)),
  'enter-code': (wa, request) => enterCode(wa, request.code, accountOf(wa, request)),
  contact: (wa, { pn, ...changes }) => {
    const person = Object.assign(wa.people.person(pn), changes)
    return { pn: person.pn, lid: person.lid, devices: person.devices?.length }
  },
  reinstall: (wa, { pn }) => wa.people.person(pn).devices.forEach(device => device.reset()),
  'forge-key': (wa, { pn }) => {
    for (const device of wa.people.person(pn).devices) device.signedPreKey.signature = randomBytes(64)
  },
  'send-text': sendText,
  'send-media': sendMedia,
  'send-raw': (wa, request) =>
    inbound(wa, { ...request, message: proto.Message.fromObject(request.message) }),
  react: (wa, request) => {
    const remoteJid = request.group || pnJid(accountOf(wa, request).pn)
    const key = { remoteJid, fromMe: false, id: request.target }
    const reactionMessage = { key, text: request.text, senderTimestampMs: Date.now() }
    return inbound(wa, { ...request, type: 'reaction', message: { reactionMessage } })
  },
  'phone-sends': (wa, { to, text, ...request }) =>
    inbound(wa, { ...request, from: to, self: true, message: { conversation: text } }),
  typing: (wa, request) => {
    const jid = lidJid(wa.people.person(request.from).lid)
    const attrs = { from: request.group || jid, participant: request.group ? jid : undefined }
    tell(wa, request, () => el('chatstate', attrs, [el(request.state || 'composing')]))
  },
  receipt: sendReceipt,
  'ask-retry': askRetry,
  'create-group': createGroup,
  'group-change': changeGroup,
  'list-received': listReceived,
  events: (wa, { since = 0, type }) =>
    wa.events.filter(event => event.seq > since && (!type || event.type === type)),
  wait: (wa, { match, since, timeoutMs }) => wa.wait(match, since, timeoutMs),
  drop: (wa, { account, ...how }) => ({ dropped: wa.drop({ account: account && digits(account), ...how }) }),
  listen: async (wa, { on }) => {
    await (on === false ? wa.unlisten() : wa.listen())
    return { url: wa.url }
  },
  'media-fail': (wa, { count = 1 }) => void (wa.media.fail = count)
}

function status(wa) {
  const companionView = ({ id, conn, preKeys, pending, logins = 0 }) => {
    return { id, online: !!conn, preKeys: preKeys.size, pending: pending.map(({ item }) => item.id), logins }
  }
  const accounts = [...wa.people.accounts.values()].map(({ pn, lid, companions }) => {
    return { pn, lid, companions: [...companions.values()].map(companionView) }
  })
  const { url, seq, knobs, conns, received } = wa
  const groups = [...wa.people.groups.values()]
  return {
    url,
    media: wa.media.host,
    seq,
    knobs,
    accounts,
    groups,
    connections: conns.size,
    received: received.length
  }
}

function sendText(wa, request) {
  const { text, mention, quoted, forwarded, ephemeral, extended, group } = request
  const account = accountOf(wa, request)
  const mode = request.addressing || wa.people.groups.get(group)?.addressing || 'lid'
  const me = mode === 'lid' ? lidJid(account.lid) : pnJid(account.pn)
  const info = {
    mentionedJid: (mention ?? []).map(jid => (jid === 'me' ? me : jid)),
    ...(quoted && {
      stanzaId: quoted.id,
      participant: quoted.participant,
      quotedMessage: { conversation: quoted.text || '' }
    }),
    ...(forwarded && { isForwarded: true, forwardingScore: 1 }),
    ...(ephemeral && { expiration: ephemeral })
  }
  const isExtended = mention || quoted || forwarded || ephemeral || extended
  const plain = isExtended ? { extendedTextMessage: { text, contextInfo: info } } : { conversation: text }
  const message = ephemeral ? { ephemeralMessage: { message: plain } } : plain
  return inbound(wa, { ...request, message })
}

async function sendMedia(wa, request) {
  const { kind = 'image', base64, size = 1024, caption, viewOnce, ephemeral, gone, lost } = request
  const plain = base64 ? Buffer.from(base64, 'base64') : randomBytes(size)
  const { enc, ...keys } = encryptMedia(plain, kind)
  const directPath = wa.media.put(enc)
  const content = {
    url: wa.media.url(directPath),
    directPath,
    ...keys,
    mimetype: request.mimetype || MIME[kind],
    mediaKeyTimestamp: nowSec(),
    ...(caption && { caption }),
    ...(viewOnce && { viewOnce }),
    ...(kind === 'audio' && { ptt: !!request.ptt, seconds: 3 }),
    ...(kind === 'document' && { fileName: request.fileName || 'file.pdf' })
  }
  if (gone) wa.media.expire(directPath)
  if (lost) wa.media.blobs.delete(directPath)
  let message = { [`${kind}Message`]: content }
  if (viewOnce) message = { viewOnceMessageV2: { message } }
  if (ephemeral) message = { ephemeralMessage: { message } }
  const sent = await inbound(wa, { ...request, message, type: 'media' })
  return { ...sent, sha256: createHash('sha256').update(plain).digest('hex'), size: plain.length }
}

/** A contact could not decrypt what the client sent, and asks for it again. */
function askRetry(wa, request) {
  const { from, id, group, to, count = 1, withKeys = true } = request
  const person = wa.people.person(from)
  const [device] = person.devices
  const jid = lidJid(person.lid)
  const { registrationId, identity, signedPreKey } = device
  const keys = el('keys', {}, [
    el('type', {}, Buffer.from([5])),
    el('identity', {}, identity.public),
    preKeyNode(device.takePreKey()),
    el('skey', {}, [
      el('id', {}, encodeBigEndian(signedPreKey.keyId, 3)),
      el('value', {}, signedPreKey.keyPair.public),
      el('signature', {}, signedPreKey.signature)
    ])
  ])
  const account = accountOf(wa, request)
  const attrs = {
    from: group || to || jid,
    id,
    type: 'retry',
    t: nowSec(),
    participant: group ? jid : undefined
  }
  tell(wa, request, companion => {
    device.dropSession(addressOf(account, companion))
    const retry = el('retry', { count, id, t: nowSec(), v: 1 })
    const registration = el('registration', {}, encodeBigEndian(registrationId))
    return el('receipt', attrs, [retry, registration, ...(withKeys ? [keys] : [])])
  })
}

function groupNotice(wa, request, group, content) {
  const participant = wa.people.memberJid(group, group.members[0])
  const attrs = { from: group.id, type: 'w:gp2', id: newId(), t: nowSec(), participant, notify: 'x' }
  tell(wa, request, () => el('notification', attrs, [content]))
}

function createGroup(wa, request) {
  const {
    id = `1203630${randomBytes(4).readUInt32BE()}`,
    members = [],
    subject,
    addressing,
    announce = true
  } = request
  const everybody = [...new Set([...members.map(digits), accountOf(wa, request).pn])]
  const group = { id: `${id}@g.us`, subject, addressing, members: everybody, creation: nowSec() }
  const made = wa.people.createGroup(group)
  const node = el('create', { type: 'new', key: 'x', reason: 'invite' }, [wa.people.groupNode(made)])
  if (announce) groupNotice(wa, request, made, node)
  return made
}

function changeGroup(wa, request) {
  const { add, remove, subject } = request
  const group = wa.people.groups.get(request.group)
  const people = who => who.map(one => el('participant', { jid: wa.people.memberJid(group, one) }))
  let node
  if (add) {
    group.members.push(...add.map(digits))
    node = el('add', {}, people(add))
  } else if (remove) {
    const gone = remove.map(digits)
    group.members = group.members.filter(pn => !gone.includes(pn))
    node = el('remove', {}, people(remove))
  } else {
    group.subject = subject
    node = el('subject', { subject, s_t: nowSec(), s_o: wa.people.memberJid(group, group.members[0]) })
  }
  groupNotice(wa, request, group, node)
  return group
}

function listReceived(wa, { since = 0, to, full }) {
  const fits = record => record.seq > since && (!to || record.to === to || digits(record.to) === digits(to))
  return wa.received.filter(fits).map(({ message, ...record }) => {
    if (!full || !message) return record
    return { ...record, message: proto.Message.toObject(message, { longs: Number, bytes: String }) }
  })
}
