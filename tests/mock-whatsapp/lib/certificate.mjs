// A throw-away certificate for 127.0.0.1 and localhost, written in DER by hand.
import { createSign, generateKeyPairSync, randomBytes } from 'node:crypto'

const len = n =>
  n < 128 ? Buffer.from([n]) : n < 256 ? Buffer.from([0x81, n]) : Buffer.from([0x82, n >> 8, n & 255])
const tlv = (t, ...c) => {
  const b = Buffer.concat(c)
  return Buffer.concat([Buffer.from([t]), len(b.length), b])
}
const seq = (...c) => tlv(0x30, ...c)
const oid = s => {
  const p = s.split('.').map(Number),
    o = [p[0] * 40 + p[1]]
  for (const v of p.slice(2)) {
    const g = [v & 127]
    for (let x = v >> 7; x; x >>= 7) g.unshift((x & 127) | 128)
    o.push(...g)
  }
  return tlv(0x06, Buffer.from(o))
}
const time = d => tlv(0x17, Buffer.from(d.toISOString().replace(/[-:T]/g, '').slice(2, 14) + 'Z'))
export function selfSigned() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const alg = seq(oid('1.2.840.10045.4.3.2'))
  const name = seq(tlv(0x31, seq(oid('2.5.4.3'), tlv(0x0c, Buffer.from('mock-wa loopback')))))
  const san = seq(tlv(0x82, Buffer.from('localhost')), tlv(0x87, Buffer.from([127, 0, 0, 1])))
  const ext = tlv(
    0xa3,
    seq(
      seq(oid('2.5.29.17'), tlv(0x04, san)),
      seq(oid('2.5.29.19'), tlv(0x01, Buffer.from([255])), tlv(0x04, seq(tlv(0x01, Buffer.from([255])))))
    )
  )
  const now = Date.now()
  const tbs = seq(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    alg,
    name,
    seq(time(new Date(now - 864e5)), time(new Date(now + 3650 * 864e5))),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    ext
  )
  const sig = createSign('sha256').update(tbs).sign(privateKey)
  const der = seq(tbs, alg, tlv(0x03, Buffer.from([0]), sig))
  const cert =
    '-----BEGIN CERTIFICATE-----\n' +
    der
      .toString('base64')
      .match(/.{1,64}/g)
      .join('\n') +
    '\n-----END CERTIFICATE-----\n'
  return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }
}
