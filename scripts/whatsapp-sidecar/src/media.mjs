// Media: describes the attachment of a message to the gateway, and fetches, decrypts and checks it. Called by
// inbound.mjs for the former, by sidecar.mjs and Baileys for the latter.
import { createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import https from 'node:https'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { getMediaKeys } from 'baileys'
import { RequestError, invalid } from './errors.mjs'
import {
  FILE_NAME_CHARS_MAX,
  KEY_BYTES_MAX,
  MEDIA_BYTES_MAX,
  MEDIA_IDLE_MS,
  PATH_CHARS_MAX,
  REDIRECTS_MAX,
  RENEW_MS
} from './limits.mjs'

const DEFAULT_HOST = 'mmg.whatsapp.net'
const ORIGIN = 'https://web.whatsapp.com'
const MAC_BYTES = 10
/**
 * Types of content that have a file, as Baileys names them: the `kind` that the gateway is shown, which also names
 * the keys.
 */
const KINDS = {
  imageMessage: 'image',
  videoMessage: 'video',
  ptvMessage: 'video',
  audioMessage: 'audio',
  documentMessage: 'document',
  stickerMessage: 'sticker'
}
const EXTENSIONS = {
  'image/jpeg': '.jpg',
  'image/png': '.png',
  'image/webp': '.webp',
  'image/gif': '.gif',
  'video/mp4': '.mp4',
  'audio/ogg': '.ogg',
  'audio/mp4': '.m4a',
  'audio/mpeg': '.mp3',
  'application/pdf': '.pdf',
  'text/plain': '.txt'
}

/** A name as its sender wrote it, cut, and without half a character at its end. */
const clip = text =>
  text === undefined || text === null ? undefined : String(text).slice(0, FILE_NAME_CHARS_MAX).toWellFormed()
const toBase64 = bytes => (bytes ? Buffer.from(bytes).toString('base64') : undefined)
const fromBase64 = text => Buffer.from(text ?? '', 'base64')

/** The host to ask for a file: the sender may name any, but only WhatsApp's own are asked. */
function hostOf(url) {
  const host = URL.canParse(url ?? '') ? new URL(url).host : ''
  return host.endsWith('.whatsapp.net') ? host : DEFAULT_HOST
}

/**
 * Describes the attachment of a message.
 * @param {string} type of the content, as Baileys names it
 * @param {object} content
 * @param {object} key of the message
 * @returns {object | undefined} with `ref`, all that `fetchMedia` needs
 */
export function mediaOf(type, content, key) {
  const kind = KINDS[type]
  if (!kind || !content.directPath || !content.mediaKey?.length) return undefined
  if (content.directPath.length > PATH_CHARS_MAX || content.mediaKey.length > KEY_BYTES_MAX) return undefined
  if (content.fileSha256?.length > KEY_BYTES_MAX) return undefined
  const { id, remoteJid, fromMe, participant } = key
  const ref = {
    type,
    host: hostOf(content.url),
    path: content.directPath,
    mediaKey: toBase64(content.mediaKey),
    sha256: toBase64(content.fileSha256),
    bytes: Math.min(Number(content.fileLength ?? 0) || 0, Number.MAX_SAFE_INTEGER),
    mime: clip(content.mimetype),
    name: clip(content.fileName),
    key: { id, remoteJid, fromMe, participant }
  }
  return {
    kind,
    mime: clip(content.mimetype ?? 'application/octet-stream'),
    bytes: ref.bytes,
    ...(content.fileName && { name: clip(content.fileName) }),
    ...(content.seconds && { seconds: Math.min(content.seconds, 0xffffffff) }),
    ...(content.ptt && { ptt: true }),
    ref: Buffer.from(JSON.stringify(ref)).toString('base64url')
  }
}

/** The address of a file; throws if the path is written so that it would lead to another host. */
function addressOf(host, path) {
  const text = `https://${host}${path}`
  if (path?.startsWith('/') && URL.canParse(text)) return new URL(text)
  throw new RequestError('media-failed', 'the path of the file is none')
}

/** GET of a media address; resolves with the response's body. */
function get(url, agent, redirects = 0) {
  return new Promise((resolve, reject) => {
    const request = https.request(
      url,
      { agent, headers: { Origin: ORIGIN }, timeout: MEDIA_IDLE_MS },
      response => {
        const { statusCode, headers } = response
        if (statusCode === 200) return resolve(response)
        response.resume()
        const next = headers.location && URL.canParse(headers.location, url) && new URL(headers.location, url)
        const follows = statusCode >= 300 && statusCode < 400 && next && redirects < REDIRECTS_MAX
        if (follows && hostOf(next.href) === next.host) return resolve(get(next, agent, redirects + 1))
        const gone = statusCode === 404 || statusCode === 410
        reject(
          new RequestError(gone ? 'gone' : 'media-failed', `the media server answered ${statusCode}`, !gone)
        )
      }
    )
    request.on('timeout', () => request.destroy(new Error('the media server went silent')))
    request.on('error', error => reject(new RequestError('media-failed', error.message, true)))
    request.end()
  })
}

/** Decrypts a stream of AES-CBC with ten bytes of HMAC at its end, checking the HMAC and the length. */
function decryption({ iv, cipherKey, macKey }, max) {
  const cipher = createDecipheriv('aes-256-cbc', cipherKey, iv)
  const mac = createHmac('sha256', macKey).update(iv)
  let held = Buffer.alloc(0)
  let bytes = 0
  const push = (stream, part) => {
    bytes += part.length
    if (bytes > max) throw tooLarge(bytes, max)
    stream.push(part)
  }
  const attempt = (done, work) => {
    try {
      work()
      done()
    } catch (error) {
      done(error instanceof RequestError ? error : new RequestError('media-damaged', 'the file is damaged'))
    }
  }
  return new Transform({
    transform(chunk, _, done) {
      attempt(done, () => {
        held = Buffer.concat([held, chunk])
        const ready = held.subarray(0, Math.max(0, held.length - MAC_BYTES))
        held = held.subarray(ready.length)
        mac.update(ready)
        push(this, cipher.update(ready))
      })
    },
    flush(done) {
      attempt(done, () => {
        if (!mac.digest().subarray(0, MAC_BYTES).equals(held)) throw new Error('wrong HMAC')
        push(this, cipher.final())
      })
    }
  })
}

const tooLarge = (bytes, max) => new RequestError('too-large', `${bytes} bytes of media, at most ${max}`)

function refOf(text) {
  try {
    const ref = JSON.parse(Buffer.from(text, 'base64url').toString())
    if (KINDS[ref.type] && ref.host.endsWith('.whatsapp.net') && ref.path.startsWith('/')) return ref
  } catch {
    // Answered as any other `ref` that is none.
  }
  throw invalid('`ref` is not one of ours')
}

async function download(ref, { dir, max, agent }) {
  const keys = await getMediaKeys(fromBase64(ref.mediaKey), KINDS[ref.type])
  const body = await get(addressOf(ref.host, ref.path), agent)
  const temporary = join(tmpdir(), `${randomBytes(8).toString('hex')}.part`)
  const hash = createHash('sha256')
  let bytes = 0
  const count = new Transform({
    transform(chunk, _, done) {
      hash.update(chunk)
      bytes += chunk.length
      done(null, chunk)
    }
  })
  try {
    await pipeline(body, decryption(keys, max), count, createWriteStream(temporary, { mode: 0o600 }))
    const sha256 = hash.digest()
    if (ref.sha256 && !sha256.equals(fromBase64(ref.sha256))) {
      throw new RequestError('media-damaged', 'the file is not the one that was sent')
    }
    const path = join(dir, sha256.toString('hex') + extensionOf(ref))
    await rename(temporary, path)
    return { path, bytes, sha256: sha256.toString('hex'), mime: ref.mime }
  } catch (error) {
    if (error instanceof RequestError) throw error
    throw new RequestError('media-failed', error.message, true)
  } finally {
    await rm(temporary, { force: true })
  }
}

function extensionOf({ mime = '', name = '' }) {
  return (
    EXTENSIONS[mime.split(';')[0].trim()] ??
    (/^\.[a-z0-9]{1,8}$/.test(extname(name)) ? extname(name) : '.bin')
  )
}

/**
 * Fetches an attachment into a folder; the file is named by its hash.
 * @param {string} text the `ref` of a message's media
 * @param {object} options
 * @param {string} options.dir
 * @param {number} [options.max] bytes
 * @param {https.Agent} [options.agent]
 * @param {(message: object) => Promise<object>} [options.renew] asks the phone to upload the file again
 * @returns {Promise<{path: string, bytes: number, sha256: string, mime?: string}>}
 */
export async function fetchMedia(text, { dir, max = MEDIA_BYTES_MAX, agent, renew }) {
  const ref = refOf(text)
  if (ref.bytes > max) throw tooLarge(ref.bytes, max)
  try {
    return await download(ref, { dir, max, agent })
  } catch (error) {
    if (error.code !== 'gone' || !renew) throw error
  }
  return download({ ...ref, path: await renewedPath(ref, renew) }, { dir, max, agent })
}

/** The phone uploads the file again, if it is on line and still has it. */
async function renewedPath(ref, renew) {
  const content = { mediaKey: fromBase64(ref.mediaKey), directPath: ref.path, mimetype: ref.mime }
  let timer
  const late = new Promise((_, reject) => {
    const error = new RequestError('gone', 'the file is gone, and the phone does not upload it again', true)
    timer = setTimeout(() => reject(error), RENEW_MS)
  })
  try {
    const { message } = await Promise.race([renew({ key: ref.key, message: { [ref.type]: content } }), late])
    return message[ref.type].directPath
  } catch (error) {
    if (error instanceof RequestError) throw error
    throw new RequestError('gone', 'the file is gone, and the phone does not have it any more')
  } finally {
    clearTimeout(timer)
  }
}

/**
 * What Baileys' own downloads (history, app state) go through.
 * @param {https.Agent | undefined} agent
 * @returns {(url: string | URL) => Promise<import('node:stream').Readable>}
 */
export const opener = agent => async url => {
  const address = new URL(url)
  return get(addressOf(hostOf(address.href), address.pathname + address.search), agent)
}
