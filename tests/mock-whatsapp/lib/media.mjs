// The media store, over HTTPS on loopback: keeps what was uploaded, encrypted as clients and phones encrypt it. Made
// by server.mjs.
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto'
import https from 'node:https'
import { selfSigned } from './certificate.mjs'
import { aesEncryptGCM, hkdf, proto } from './wa.mjs'

/** Names of the kinds in the derivation of their keys. */
const INFO = {
  image: 'Image',
  video: 'Video',
  audio: 'Audio',
  document: 'Document',
  sticker: 'Image',
  history: 'History'
}
const MAC_BYTES = 10

function keysFor(mediaKey, kind) {
  const keys = Buffer.from(hkdf(mediaKey, 112, { info: `WhatsApp ${INFO[kind] ?? 'Image'} Keys` }))
  return { iv: keys.subarray(0, 16), cipher: keys.subarray(16, 48), mac: keys.subarray(48, 80) }
}

const sha256 = bytes => createHash('sha256').update(bytes).digest()

const macOf = ({ iv, mac }, encrypted) =>
  createHmac('sha256', mac).update(iv).update(encrypted).digest().subarray(0, MAC_BYTES)

export function encryptMedia(plain, kind) {
  const mediaKey = randomBytes(32)
  const keys = keysFor(mediaKey, kind)
  const cipher = createCipheriv('aes-256-cbc', keys.cipher, keys.iv)
  const encrypted = Buffer.concat([cipher.update(plain), cipher.final()])
  const enc = Buffer.concat([encrypted, macOf(keys, encrypted)])
  return { mediaKey, enc, fileSha256: sha256(plain), fileEncSha256: sha256(enc), fileLength: plain.length }
}

export function decryptMedia(enc, mediaKey, kind) {
  const keys = keysFor(mediaKey, kind)
  const encrypted = enc.subarray(0, -MAC_BYTES)
  if (!macOf(keys, encrypted).equals(enc.subarray(-MAC_BYTES))) throw new Error('media mac mismatch')
  const cipher = createDecipheriv('aes-256-cbc', keys.cipher, keys.iv)
  return Buffer.concat([cipher.update(encrypted), cipher.final()])
}

/** The phone's answer to a client that asks for a file again, as both encrypt it. */
export function encryptRenewal(mediaKey, id, directPath) {
  const { SUCCESS, NOT_FOUND } = proto.MediaRetryNotification.ResultType
  const note = { stanzaId: id, directPath, result: directPath ? SUCCESS : NOT_FOUND }
  const key = Buffer.from(hkdf(Buffer.from(mediaKey), 32, { info: 'WhatsApp Media Retry Notification' }))
  const iv = randomBytes(12)
  const plain = Buffer.from(proto.MediaRetryNotification.encode(note).finish())
  return { iv, data: aesEncryptGCM(plain, key, iv, Buffer.from(id)) }
}

export class MediaStore {
  /** The next requests that are answered by 503. */
  fail = 0
  blobs = new Map()
  tls = selfSigned()
  #expired = new Map()
  #uploads = 0
  #log

  constructor(log) {
    this.#log = log
    this.server = https.createServer(this.tls, (req, res) => this.#answer(req, res))
  }

  #answer(req, res) {
    const path = new URL(req.url, 'https://x').pathname
    if (this.fail > 0) {
      this.fail--
      res.writeHead(503).end('{}')
      this.#log('media-fail', { method: req.method, path })
    } else if (req.method === 'POST') this.#upload(req, res, path)
    else {
      const blob = this.blobs.get(path)
      this.#log('media-download', { path, found: !!blob })
      if (blob) res.end(blob)
      else res.writeHead(404).end()
    }
  }

  #upload(req, res, at) {
    const parts = []
    req.on('data', part => parts.push(part))
    req.on('end', () => {
      const path = `/up/${++this.#uploads}-${randomBytes(6).toString('hex')}`
      const blob = Buffer.concat(parts)
      this.blobs.set(path, blob)
      this.#log('media-upload', { path, size: blob.length, at })
      res.setHeader('content-type', 'application/json')
      res.end(JSON.stringify({ url: this.url(path), direct_path: path }))
    })
  }

  put(enc) {
    const path = `/in/${randomBytes(8).toString('hex')}`
    this.blobs.set(path, enc)
    return path
  }

  /** The server has forgotten a file; its sender may still have it. */
  expire(path) {
    this.#expired.set(path, this.blobs.get(path))
    this.blobs.delete(path)
  }

  /** The sender uploads an expired file again: its new path, or undefined. */
  renew(path) {
    const blob = this.#expired.get(path)
    return blob && this.put(blob)
  }

  /** As the real servers say it; the trust preload leads it here. */
  url(path) {
    return `https://mmg.whatsapp.net${path}`
  }

  async listen() {
    await new Promise(resolve => this.server.listen(0, '127.0.0.1', resolve))
    this.host = `127.0.0.1:${this.server.address().port}`
  }
}
