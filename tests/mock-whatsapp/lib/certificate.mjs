// A throw-away certificate for 127.0.0.1 and localhost, for the media store, written in DER by hand: Node makes keys,
// but no certificates.
import { createSign, generateKeyPairSync, randomBytes } from 'node:crypto'

const DAY_MS = 86_400_000
const TYPES = { boolean: 0x01, integer: 0x02, bits: 0x03, octets: 0x04, oid: 0x06, text: 0x0c, time: 0x17 }
const [SEQUENCE, SET] = [0x30, 0x31]
/** Members of a certificate that are told apart by a number. */
const [VERSION, EXTENSIONS] = [0xa0, 0xa3]
/** Kinds of a subject's other names. */
const [DNS_NAME, IP_ADDRESS] = [0x82, 0x87]
const OIDS = {
  ecdsaWithSha256: [1, 2, 840, 10045, 4, 3, 2],
  commonName: [2, 5, 4, 3],
  subjectAltName: [2, 5, 29, 17],
  basicConstraints: [2, 5, 29, 19]
}

function lengthOf(size) {
  if (size < 0x80) return [size]
  return size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
}

/** A value of DER: its type, its length, its content. */
function value(type, ...parts) {
  const content = Buffer.concat(parts)
  return Buffer.concat([Buffer.from([type, ...lengthOf(content.length)]), content])
}

const sequence = (...parts) => value(SEQUENCE, ...parts)

function oid([first, second, ...rest]) {
  const bytes = [first * 40 + second]
  for (const number of rest) {
    const group = [number & 0x7f]
    for (let left = number >> 7; left; left >>= 7) group.unshift((left & 0x7f) | 0x80)
    bytes.push(...group)
  }
  return value(TYPES.oid, Buffer.from(bytes))
}

const time = ms =>
  value(TYPES.time, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`))

function extensions() {
  const names = [value(DNS_NAME, Buffer.from('localhost')), value(IP_ADDRESS, Buffer.from([127, 0, 0, 1]))]
  const yes = value(TYPES.boolean, Buffer.from([0xff]))
  return value(
    EXTENSIONS,
    sequence(
      sequence(oid(OIDS.subjectAltName), value(TYPES.octets, sequence(...names))),
      // Critical, and an authority: clients are told to trust it as their root.
      sequence(oid(OIDS.basicConstraints), yes, value(TYPES.octets, sequence(yes)))
    )
  )
}

/** @returns {{cert: string, key: string}} both as PEM */
export function selfSigned() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = sequence(oid(OIDS.ecdsaWithSha256))
  const common = sequence(oid(OIDS.commonName), value(TYPES.text, Buffer.from('mock-wa loopback')))
  const name = sequence(value(SET, common))
  const now = Date.now()
  const body = sequence(
    value(VERSION, value(TYPES.integer, Buffer.from([2]))),
    value(TYPES.integer, Buffer.from([1]), randomBytes(8)),
    algorithm,
    name,
    sequence(time(now - DAY_MS), time(now + 3650 * DAY_MS)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    extensions()
  )
  const signature = createSign('sha256').update(body).sign(privateKey)
  const der = sequence(body, algorithm, value(TYPES.bits, Buffer.from([0]), signature))
  const lines = der.toString('base64').match(/.{1,64}/g)
  const cert = ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
  return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }
}
