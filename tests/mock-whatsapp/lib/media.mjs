// Media store over HTTPS on loopback (the client always builds https:// URLs), with a throw-away certificate.
import https from 'node:https'
import { createCipheriv, createDecipheriv, createHash, createHmac, createSign, generateKeyPairSync, randomBytes } from 'node:crypto'
import { hkdf } from './wa.mjs'

// --- a minimal DER writer: enough for one self-signed P-256 certificate for 127.0.0.1 / localhost
const len = n => n < 128 ? Buffer.from([n]) : n < 256 ? Buffer.from([0x81, n]) : Buffer.from([0x82, n >> 8, n & 255])
const tlv = (t, ...c) => { const b = Buffer.concat(c); return Buffer.concat([Buffer.from([t]), len(b.length), b]) }
const seq = (...c) => tlv(0x30, ...c)
const oid = s => {
  const p = s.split('.').map(Number), o = [p[0] * 40 + p[1]]
  for (const v of p.slice(2)) { const g = [v & 127]; for (let x = v >> 7; x; x >>= 7) g.unshift((x & 127) | 128); o.push(...g) }
  return tlv(0x06, Buffer.from(o))
}
const time = d => tlv(0x17, Buffer.from(d.toISOString().replace(/[-:T]/g, '').slice(2, 14) + 'Z'))
export function selfSigned() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const alg = seq(oid('1.2.840.10045.4.3.2'))
  const name = seq(tlv(0x31, seq(oid('2.5.4.3'), tlv(0x0c, Buffer.from('mock-wa loopback')))))
  const san = seq(tlv(0x82, Buffer.from('localhost')), tlv(0x87, Buffer.from([127, 0, 0, 1])))
  const ext = tlv(0xa3, seq(
    seq(oid('2.5.29.17'), tlv(0x04, san)),
    seq(oid('2.5.29.19'), tlv(0x01, Buffer.from([255])), tlv(0x04, seq(tlv(0x01, Buffer.from([255])))))))
  const now = Date.now()
  const tbs = seq(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))), tlv(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])), alg, name,
    seq(time(new Date(now - 864e5)), time(new Date(now + 3650 * 864e5))), name,
    publicKey.export({ type: 'spki', format: 'der' }), ext)
  const sig = createSign('sha256').update(tbs).sign(privateKey)
  const der = seq(tbs, alg, tlv(0x03, Buffer.from([0]), sig))
  const cert = '-----BEGIN CERTIFICATE-----\n' + der.toString('base64').match(/.{1,64}/g).join('\n') + '\n-----END CERTIFICATE-----\n'
  return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }
}

const INFO = { image: 'Image', video: 'Video', audio: 'Audio', document: 'Document', sticker: 'Image', history: 'History' }
const keysFor = (mediaKey, kind) => {
  const k = Buffer.from(hkdf(mediaKey, 112, { info: `WhatsApp ${INFO[kind] ?? 'Image'} Keys` }))
  return { iv: k.subarray(0, 16), cipher: k.subarray(16, 48), mac: k.subarray(48, 80) }
}
const sha = b => createHash('sha256').update(b).digest()
export function encryptMedia(plain, kind) {
  const mediaKey = randomBytes(32), k = keysFor(mediaKey, kind)
  const c = createCipheriv('aes-256-cbc', k.cipher, k.iv)
  const ct = Buffer.concat([c.update(plain), c.final()])
  const mac = createHmac('sha256', k.mac).update(k.iv).update(ct).digest().subarray(0, 10)
  const enc = Buffer.concat([ct, mac])
  return { mediaKey, enc, fileSha256: sha(plain), fileEncSha256: sha(enc), fileLength: plain.length }
}
export function decryptMedia(enc, mediaKey, kind) {
  const k = keysFor(mediaKey, kind), ct = enc.subarray(0, -10)
  const mac = createHmac('sha256', k.mac).update(k.iv).update(ct).digest().subarray(0, 10)
  if (!mac.equals(enc.subarray(-10))) throw new Error('media mac mismatch')
  const d = createDecipheriv('aes-256-cbc', k.cipher, k.iv)
  return Buffer.concat([d.update(ct), d.final()])
}

export class MediaStore {
  constructor(log) {
    this.blobs = new Map()
    this.uploads = 0
    this.fail = 0
    this.tls = selfSigned()
    this.server = https.createServer(this.tls, (req, res) => {
      const u = new URL(req.url, 'https://x')
      if (this.fail > 0) { this.fail--; res.writeHead(503).end('{}'); return log('media-fail', { method: req.method, path: u.pathname }) }
      if (req.method === 'POST') {
        const parts = []
        req.on('data', c => parts.push(c)).on('end', () => {
          const body = Buffer.concat(parts)
          const path = '/up/' + (++this.uploads) + '-' + randomBytes(6).toString('hex')
          this.blobs.set(path, body)
          log('media-upload', { path, size: body.length, at: u.pathname })
          res.setHeader('content-type', 'application/json')
          res.end(JSON.stringify({ url: this.url(path), direct_path: path }))
        })
      } else {
        const b = this.blobs.get(u.pathname)
        log('media-download', { path: u.pathname, found: !!b })
        if (!b) res.writeHead(404).end()
        else res.end(b)
      }
    })
  }
  put(enc) { const p = '/in/' + randomBytes(8).toString('hex'); this.blobs.set(p, enc); return p }
  url(path) { return `https://mmg.whatsapp.net${path}` }
  async listen() {
    await new Promise(r => this.server.listen(0, '127.0.0.1', r))
    this.host = '127.0.0.1:' + this.server.address().port
  }
}
