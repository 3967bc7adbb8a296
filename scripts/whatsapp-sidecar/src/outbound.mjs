// Sends messages, and tells the gateway what becomes of each. A message that was sent has been written to the socket,
// no more; that the server has accepted it comes later, as an event (`out`). Made by sidecar.mjs; knows nothing of
// the connection's state.
import { isAbsolute } from 'node:path'
import { proto } from 'baileys'
import { Cache } from './cache.mjs'
import { RequestError, invalid } from './errors.mjs'
import { bare, checkedJid, isGroup, isPhone, jidOfPhone, personOf } from './identity.mjs'
import { LIST_MAX, QUERY_MS, SENT_MAX, SENT_MS, TEXT_CHARS_MAX } from './limits.mjs'
import { writeLine } from './stdio.mjs'

/** What the types of receipts mean for what was sent; a receipt without a type means delivered. */
const STAGES = { undefined: 'delivered', inactive: 'delivered', read: 'read', played: 'read' }
const ID = /^[A-Za-z0-9._-]{1,128}$/
const MEDIA = new Set(['image', 'video', 'audio', 'document', 'sticker'])

const checkedText = (text, name) => {
  if (text === undefined) return undefined
  if (typeof text !== 'string' || text.length > TEXT_CHARS_MAX) {
    throw invalid(`\`${name}\` is no text of at most ${TEXT_CHARS_MAX} characters`)
  }
  return text
}

/** The content of a `send` in Baileys' terms. */
function contentOf({ text, media, mentions = [] }) {
  if (!Array.isArray(mentions) || mentions.length > LIST_MAX) throw invalid('`mentions` is no list of jids')
  const people = mentions.map(jid => (isPhone(jid) ? jidOfPhone(jid) : checkedJid(jid, 'mentions')))
  const mention = people.length ? { mentions: people } : {}
  if (!media) {
    if (!checkedText(text, 'text')) throw invalid('`text` or `media` is missing')
    // Without a preview: making one would ask the address that the text names.
    return { text, linkPreview: null, ...mention }
  }
  const { path, kind, mime, name, caption, ptt, seconds } = media
  if (!MEDIA.has(kind)) throw invalid('`media.kind` is unknown')
  if (typeof path !== 'string' || !isAbsolute(path)) throw invalid('`media.path` is no absolute path')
  const captionText = checkedText(caption ?? text, 'media.caption')
  return {
    [kind]: { url: path },
    ...(mime && { mimetype: mime }),
    ...(captionText && { caption: captionText }),
    ...(kind === 'document' && { fileName: name ?? 'file', mimetype: mime ?? 'application/octet-stream' }),
    ...(kind === 'audio' && { ptt: Boolean(ptt), seconds: seconds ?? 0 }),
    // Baileys would copy the file and look for a picture library.
    ...((kind === 'image' || kind === 'video') && { jpegThumbnail: null }),
    ...mention
  }
}

function quotedOf(quote, chat) {
  if (!quote) return {}
  if (!ID.test(quote.id)) throw invalid('`quote.id` is no message id')
  const participant = quote.from && checkedJid(quote.from, 'quote.from')
  const text = checkedText(quote.text, 'quote.text') ?? ''
  return {
    quoted: {
      key: { remoteJid: chat, id: quote.id, fromMe: Boolean(quote.me), participant },
      message: { conversation: text }
    }
  }
}

/** Sends over whatever socket it is given. */
export class Outbound {
  /** Addresses of sent messages by their id. */
  #sent = new Cache(SENT_MS, SENT_MAX)

  /**
   * Writes a message to the server.
   * @param {object} sock
   * @param {object} request `id`, `to`, and `text` or `media`
   * @returns {Promise<{id: string, jid: string, proto: string}>} `proto` is the body, for `sent-body`
   */
  async send(sock, { id, to, text, media, mentions, quote }) {
    if (!ID.test(id ?? '')) throw invalid('`id` is no message id')
    const content = contentOf({ text, media, mentions })
    const jid = isPhone(to) ? await this.#addressOf(sock, to) : checkedJid(to, 'to')
    const options = { messageId: id, mediaUploadTimeoutMs: QUERY_MS, ...quotedOf(quote, jid) }
    // Before the bytes leave: the server's answer may be here before `sendMessage` returns.
    this.#sent.set(id, jid)
    const { message } = await sock.sendMessage(jid, content, options)
    return { id, jid, proto: Buffer.from(proto.Message.encode(message).finish()).toString('base64') }
  }

  /** The address of a phone number: its LID if it has one, since WhatsApp refuses messages to the number sooner. */
  async #addressOf(sock, phone) {
    const jid = jidOfPhone(phone)
    const lid = bare(await sock.signalRepository.lidMapping.getLIDForPN(jid))
    if (lid) return lid
    const [found] = (await sock.onWhatsApp(phone)) ?? []
    if (!found?.exists) throw new RequestError('not-on-whatsapp', 'the number is not on WhatsApp')
    return found.jid
  }

  /** Listens to the stanzas themselves: Baileys has no event for an acceptance, and merges some of the receipts. */
  listen(ws) {
    ws.on('CB:ack,class:message', ({ attrs }) => {
      if (!this.#sent.get(attrs.id)) return
      if (attrs.error) writeLine({ ev: 'out', id: attrs.id, stage: 'failed', code: Number(attrs.error) })
      else writeLine({ ev: 'out', id: attrs.id, stage: 'accepted' })
    })
    ws.on('CB:receipt', ({ attrs, content }) => {
      const stage = STAGES[attrs.type]
      // With a recipient it is about a message of somebody else, which our phone has received.
      if (!stage || attrs.recipient) return
      const items = Array.isArray(content) ? content.flatMap(list => list.content ?? []) : []
      const ids = [attrs.id, ...items.map(item => item.attrs?.id)].filter(Boolean)
      const participant = isGroup(attrs.from) ? bare(attrs.participant) : undefined
      for (const id of ids) writeLine({ ev: 'out', id, stage, ...(participant && { participant }) })
    })
  }

  /**
   * Which of these numbers are on WhatsApp.
   * @param {object} sock
   * @param {string[]} phones in E.164
   */
  async resolve(sock, phones) {
    if (!Array.isArray(phones) || phones.length > LIST_MAX || !phones.every(isPhone)) {
      throw invalid('`phones` is no list of numbers like +15550001111')
    }
    if (!phones.length) return []
    const found = (await sock.onWhatsApp(...phones)) ?? []
    const { lidMapping } = sock.signalRepository
    return Promise.all(
      phones.map(async phone => {
        const jid = jidOfPhone(phone)
        if (!found.some(entry => entry.jid === jid && entry.exists)) return { phone, exists: false }
        const lid = await lidMapping.getLIDForPN(jid)
        const person = await personOf([jid, lid], lidMapping)
        return { phone, exists: true, jid, ...(person.lid && { lid: person.lid }) }
      })
    )
  }
}
