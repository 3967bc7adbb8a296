// What a client sends to people: decrypted by everybody it is for, acknowledged, and receipted. Called by server.mjs
// for each `message`.
import { createHash } from 'node:crypto'
import { digits, isGroup } from './jids.mjs'
import { sendReceipt } from './incoming.mjs'
import { decryptMedia } from './media.mjs'
import { addressOf } from './people.mjs'
import { allKids, bytes, el, kid, proto } from './wa.mjs'

const WRAPPINGS = [
  'ephemeralMessage',
  'viewOnceMessage',
  'viewOnceMessageV2',
  'viewOnceMessageV2Extension',
  'documentWithCaptionMessage',
  'editedMessage'
]
const MEDIA = ['image', 'video', 'audio', 'document', 'sticker']

export async function onMessage(wa, conn, node) {
  const { to, id, type, category } = node.attrs
  const record = { id, to, stanzaType: type, account: conn.account.pn, device: conn.companion.id, participants: [] }
  record.deviceIdentity = !!kid(node, 'device-identity')
  await readAll(wa, conn, node, record)
  if (record.message) Object.assign(record, describe(wa, record.message))
  if (category === 'peer') wa.log('peer-message', { id })
  else {
    record.seq = wa.seq + 1
    wa.received.push(record)
    const { kind, text, retryCount } = record
    wa.log('message', { id, to, kind, text, ok: !!record.message, retry: retryCount })
  }
  await acknowledge(wa, conn, node)
}

async function acknowledge(wa, conn, { attrs: { id, to, participant, category } }) {
  const { ack, ackDelayMs, deliver, read } = wa.knobs
  if (ack === 'none') return
  if (ackDelayMs) await new Promise(resolve => setTimeout(resolve, ackDelayMs))
  const error = ack.startsWith('error:') ? ack.slice(6) : undefined
  wa.send(
    conn,
    el('ack', { class: 'message', id, from: to, t: Math.floor(Date.now() / 1000), participant, error })
  )
  if (error || category === 'peer' || !deliver) return
  sendReceipt(wa, { account: conn.account.pn, id, to })
  if (read) sendReceipt(wa, { account: conn.account.pn, id, to, type: 'read' })
}

/** Decrypts every copy that is in the stanza. */
async function readAll(wa, conn, node, record) {
  const { to, participant } = node.attrs
  const from = addressOf(conn.account, conn.companion)
  for (const copy of allKids(kid(node, 'participants'), 'to')) {
    const { jid } = copy.attrs
    const message = await readOne(wa, from, to, jid, kid(copy, 'enc'), record)
    if (!message || isGroup(to)) continue
    const isOwn = [conn.account.pn, conn.account.lid].includes(digits(jid))
    if (!isOwn) record.message = message
    else if (!record.message) record.message = message.deviceSentMessage?.message ?? message
  }
  for (const enc of allKids(node, 'enc')) {
    if (enc.attrs.type === 'skmsg') await readInGroup(wa, from, to, bytes(enc), record)
    else {
      record.retryCount = enc.attrs.count
      record.message = (await readOne(wa, from, to, participant || to, enc, record)) ?? record.message
    }
  }
}

async function readOne(wa, from, to, jid, enc, record) {
  const device = wa.people.deviceOf(jid)
  const part = { jid, type: enc.attrs.type }
  record.participants.push(part)
  // Another linked client's; the mock passes nothing on.
  if (!device) return undefined
  try {
    return await device.exclusive(async () => {
      const message = await device.decrypt(from, enc.attrs.type, bytes(enc))
      const skdm = message.senderKeyDistributionMessage
      if (skdm) await device.groupLearn(to, from, skdm.axolotlSenderKeyDistributionMessage)
      part.ok = true
      return message
    })
  } catch (error) {
    part.error = error.message
    return undefined
  }
}

async function readInGroup(wa, from, to, data, record) {
  record.group = []
  for (const pn of wa.people.groups.get(to)?.members ?? []) {
    for (const device of wa.people.devicesOf(pn)) {
      const reader = { pn, device: device.id }
      record.group.push(reader)
      try {
        record.message = await device.exclusive(() => device.groupDecrypt(to, from, data))
        reader.ok = true
      } catch (error) {
        reader.error = error.message
      }
    }
  }
}

/** Kind, text and media of a message, as tests compare them. */
function describe(wa, message) {
  let inner = message
  const wraps = []
  for (let name = wrapping(inner); name; name = wrapping(inner)) {
    wraps.push(name)
    inner = inner[name].message
  }
  const known = describeText(inner) ?? describeMedia(wa, inner)
  return {
    wraps: wraps.length ? wraps : undefined,
    ...(known ?? { kind: Object.keys(proto.Message.toObject(inner))[0] })
  }
}

const wrapping = message => WRAPPINGS.find(name => message[name]?.message)

function describeText({ conversation, extendedTextMessage: extended, reactionMessage, protocolMessage }) {
  if (conversation) return { kind: 'text', text: conversation }
  if (extended) {
    const info = extended.contextInfo
    const contextInfo = info ? proto.ContextInfo.toObject(info, { bytes: String, longs: Number }) : undefined
    return { kind: 'text', text: extended.text, contextInfo }
  }
  if (reactionMessage)
    return { kind: 'reaction', text: reactionMessage.text, target: reactionMessage.key?.id }
  if (!protocolMessage) return undefined
  const { type, key, editedMessage } = protocolMessage
  const text = editedMessage?.conversation || editedMessage?.extendedTextMessage?.text
  return { kind: 'protocol', protocolType: type, target: key?.id, text }
}

function describeMedia(wa, message) {
  const kind = MEDIA.find(name => message[`${name}Message`])
  if (!kind) return undefined
  const content = message[`${kind}Message`]
  const { caption, mimetype, fileName } = content
  return {
    kind,
    text: caption || undefined,
    mimetype,
    fileName: fileName || undefined,
    media: fileOf(wa, content, kind)
  }
}

function fileOf(wa, { directPath, mediaKey, fileSha256 }, kind) {
  try {
    const plain = decryptMedia(wa.media.blobs.get(directPath), Buffer.from(mediaKey), kind)
    const sha256 = createHash('sha256').update(plain).digest()
    return { size: plain.length, sha256: sha256.toString('hex'), ok: sha256.equals(Buffer.from(fileSha256)) }
  } catch (error) {
    return { error: error.message }
  }
}
