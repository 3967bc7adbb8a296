// Inbound messages as the gateway is shown them: unwrapped, with one identity per person, bounded. Called by
// inbox.mjs; knows nothing of saving and showing them.
import { getContentType, normalizeMessageContent, proto } from 'baileys'
import { isChat, isGroup, isIgnored, isMe, personOf } from './identity.mjs'
import { ID_CHARS_MAX, NAME_CHARS_MAX, SECONDS_MAX, TEXT_CHARS_MAX } from './limits.mjs'
import { mediaOf } from './media.mjs'

const { REVOKE, MESSAGE_EDIT } = proto.Message.ProtocolMessage.Type
const { AssociationType } = proto.MessageAssociation
const VIEW_ONCE = ['viewOnceMessage', 'viewOnceMessageV2', 'viewOnceMessageV2Extension']

/** A text of at most so many characters, without half a character at its end. */
const clip = (text, max) => (text ? String(text).slice(0, max).toWellFormed() : undefined)
const clipped = text => clip(text, TEXT_CHARS_MAX)
const seconds = value => Math.min(Math.max(Math.trunc(Number(value ?? 0)) || 0, 0), SECONDS_MAX)

function pollText(poll) {
  return [poll.name, ...(poll.options ?? []).map(option => `- ${option.optionName}`)].join('\n')
}

function locationText(location) {
  return [location.name, location.address, `${location.degreesLatitude},${location.degreesLongitude}`]
    .filter(Boolean)
    .join('\n')
}

/** Content by its type, as Baileys names it: the `kind` that the gateway is shown, its text, its target. */
const KINDS = {
  conversation: text => ({ kind: 'text', text }),
  extendedTextMessage: content => ({ kind: 'text', text: content.text }),
  imageMessage: content => ({ kind: 'image', text: content.caption }),
  videoMessage: content => ({ kind: 'video', text: content.caption }),
  ptvMessage: () => ({ kind: 'video' }),
  audioMessage: () => ({ kind: 'audio' }),
  documentMessage: content => ({ kind: 'document', text: content.caption }),
  stickerMessage: () => ({ kind: 'sticker' }),
  locationMessage: content => ({ kind: 'location', text: locationText(content) }),
  liveLocationMessage: content => ({ kind: 'location', text: content.caption || locationText(content) }),
  contactMessage: content => ({ kind: 'contact', text: content.displayName }),
  contactsArrayMessage: content => ({ kind: 'contact', text: content.displayName }),
  pollCreationMessage: content => ({ kind: 'poll', text: pollText(content) }),
  pollCreationMessageV2: content => ({ kind: 'poll', text: pollText(content) }),
  pollCreationMessageV3: content => ({ kind: 'poll', text: pollText(content) }),
  reactionMessage: content => ({ kind: 'reaction', text: content.text, target: content.key?.id })
}
/** Types of content that are not shown: what devices exchange, and what only announces or follows another message. */
const SILENT = new Set([
  'senderKeyDistributionMessage',
  'albumMessage',
  'pollUpdateMessage',
  'encCommentMessage',
  'encEventResponseMessage',
  'encReactionMessage',
  'secretEncryptedMessage',
  'keepInChatMessage',
  'pinInChatMessage'
])
/** Associations by which a message is another copy of the picture or video before it: larger, or moving. */
const COPIES = new Set([
  AssociationType.HD_VIDEO_DUAL_UPLOAD,
  AssociationType.HD_IMAGE_DUAL_UPLOAD,
  AssociationType.HEVC_VIDEO_DUAL_UPLOAD,
  AssociationType.MOTION_PHOTO
])

/** Kind, text and target of a message, or undefined when there is nothing for a person in it. */
function contentOf(message) {
  if (COPIES.has(message?.messageContextInfo?.messageAssociation?.associationType)) return undefined
  const content = normalizeMessageContent(message)
  const protocol = content?.protocolMessage
  if (protocol) {
    const target = protocol.key?.id
    if (protocol.type === REVOKE) return { kind: 'revoke', target }
    if (protocol.type !== MESSAGE_EDIT) return undefined
    const edited = contentOf(protocol.editedMessage)
    return { kind: 'edit', target, text: edited?.text }
  }
  const type = getContentType(content)
  if (!type || SILENT.has(type)) return undefined
  return { ...(KINDS[type]?.(content[type]) ?? { kind: 'other' }), type, content: content[type] }
}

function isViewOnce(message, content) {
  const inner = message?.ephemeralMessage?.message ?? message
  return VIEW_ONCE.some(name => inner?.[name]) || Boolean(content?.viewOnce)
}

async function quoteOf(info, creds, mapping) {
  if (!info?.stanzaId) return undefined
  const quoted = contentOf(info.quotedMessage)
  const text = clipped(quoted?.text)
  const author = isChat(info.participant) && (await personOf([info.participant], mapping))
  return {
    id: clip(info.stanzaId, ID_CHARS_MAX),
    me: isMe(creds, info.participant),
    ...(author && { from: author }),
    ...(quoted && { kind: quoted.kind }),
    ...(text && { text })
  }
}

/** The chat that a message is in and its author. */
async function chatAndAuthorOf({ key, pushName }, creds, mapping, subjectOf) {
  const group = isGroup(key.remoteJid)
  const subject = group ? subjectOf(key.remoteJid) : undefined
  const chat = group
    ? { jid: key.remoteJid, group, ...(subject && { subject }) }
    : { ...(await personOf([key.remoteJid, key.remoteJidAlt], mapping)), group }
  const from = key.fromMe
    ? await personOf([creds.me.id, creds.me.lid], mapping)
    : await personOf(
        group ? [key.participant, key.participantAlt] : [key.remoteJid, key.remoteJidAlt],
        mapping
      )
  return {
    chat,
    from: { ...from, ...(pushName && { name: clip(pushName, NAME_CHARS_MAX) }), me: Boolean(key.fromMe) }
  }
}

/**
 * The gateway's view of a decrypted message.
 * @param {object} message of Baileys, with `key` and `message`
 * @param {object} context
 * @param {object} context.creds ours
 * @param {object} context.mapping Baileys' table of LIDs and phone numbers
 * @param {(jid: string) => string | undefined} context.subjectOf name of a group, if known
 * @param {boolean} context.offline whether it waited on the server
 * @returns {Promise<object | undefined>} undefined when there is nothing to show
 */
export async function inboundOf(message, { creds, mapping, subjectOf, offline }) {
  const { key } = message
  if (!key?.id || isIgnored(key.remoteJid) || message.category === 'peer') return undefined
  const found = contentOf(message.message)
  if (!found) return undefined
  const { kind, target, type, content } = found
  const info = content?.contextInfo
  const chatAndAuthor = await chatAndAuthorOf(message, creds, mapping, subjectOf)
  const quote = await quoteOf(info, creds, mapping)
  const text = clipped(found.text)
  const viewOnce = isViewOnce(message.message, content)
  const media = type && mediaOf(type, content, key)
  return {
    id: clip(key.id, ID_CHARS_MAX),
    ...chatAndAuthor,
    ts: seconds(message.messageTimestamp) * 1000,
    offline,
    kind,
    ...(text && { text }),
    ...(target && { target: clip(target, ID_CHARS_MAX) }),
    ...((info?.mentionedJid ?? []).some(jid => isMe(creds, jid)) && { mentionsMe: true }),
    ...(quote && { quote }),
    ...(info?.isForwarded && { forwarded: true }),
    ...(media && { media }),
    ...(viewOnce && { viewOnce }),
    ...(info?.expiration && { ephemeralSeconds: seconds(info.expiration) })
  }
}

/**
 * What is shown of a message that cannot be read.
 * @param {object} message
 * @param {object} context as for `inboundOf`
 * @returns {Promise<object>}
 */
export async function undecryptableOf(message, { creds, mapping, subjectOf, offline }) {
  return {
    id: clip(message.key.id, ID_CHARS_MAX),
    ...(await chatAndAuthorOf(message, creds, mapping, subjectOf)),
    ts: seconds(message.messageTimestamp) * 1000,
    offline,
    kind: 'undecryptable'
  }
}
