// Logging in, and linking a new client by QR code. Called by server.mjs when a client's handshake is over, by
// control.mjs when its code is scanned.
import { randomBytes } from 'node:crypto'
import { SERVER, lidJid, pnJid } from './jids.mjs'
import {
  Curve,
  WA_ADV_ACCOUNT_SIG_PREFIX,
  WA_ADV_DEVICE_SIG_PREFIX,
  bytes,
  el,
  generateSignalPubKey,
  hmacSign,
  kid,
  nowSec,
  proto,
  uint,
  verify
} from './wa.mjs'

/** What a client gets to read the last stanza before its connection is closed. */
const CLOSE_MS = 60

/** A client has finished the handshake: it registers, or logs in as a device that it says it is. */
export function login(wa, conn, payload, clientStatic) {
  const { failLogin } = wa.knobs
  if (failLogin) {
    wa.knobs.failLogin = 0
    wa.log('login-failed', { reason: failLogin })
    return refuse(wa, conn, failLogin)
  }
  if (payload.devicePairingData) return register(wa, conn, payload.devicePairingData, clientStatic)
  const pn = String(payload.username)
  const device = payload.device || 0
  const account = wa.people.accounts.get(pn)
  const companion = account?.companions.get(device)
  if (!companion?.noisePub.equals(clientStatic)) {
    wa.log('login-unknown', { pn, device })
    return refuse(wa, conn, 401)
  }
  if (companion.conn && companion.conn !== conn) streamError(wa, companion.conn, 440)
  Object.assign(conn, { account, companion })
  companion.conn = conn
  companion.logins = (companion.logins || 0) + 1
  wa.log('login', { account: pn, device, passive: !!payload.passive, n: companion.logins })
  const attrs = { t: nowSec(), lid: lidJid(account.lid, companion.id), props: 1, companion_enc_static: 'x' }
  return wa.send(conn, el('success', attrs))
}

function refuse(wa, conn, reason) {
  wa.send(conn, el('failure', { reason, location: 'mock' }))
  closeSoon(conn)
}

/** Closes a connection once its client has had time to read the last stanza. */
export const closeSoon = conn => setTimeout(() => conn.ws.close(), CLOSE_MS)

/** Ends a connection by a stream error. */
export function streamError(wa, conn, code, kind) {
  const conflict = type => [el('conflict', { type })]
  let node
  if (code === 440) node = el('stream:error', {}, conflict('replaced'))
  else node = el('stream:error', { code }, code === 401 ? conflict(kind || 'device_removed') : [])
  wa.send(conn, node)
  wa.log('stream-error-sent', { code, account: conn.account?.pn, device: conn.companion?.id })
  closeSoon(conn)
}

function register(wa, conn, reg, clientStatic) {
  conn.reg = {
    noisePub: clientStatic,
    identityPub: Buffer.from(reg.eIdent),
    registrationId: uint(reg.eRegid),
    signed: { id: uint(reg.eSkeyId), pub: Buffer.from(reg.eSkeyVal), sig: Buffer.from(reg.eSkeySig) },
    props: proto.DeviceProps.decode(reg.deviceProps)
  }
  const { identityPub, signed, props } = conn.reg
  conn.refs = Array.from({ length: wa.knobs.qrRefs }, () => `2@${randomBytes(40).toString('base64')}`)
  for (const ref of conn.refs) wa.refs.set(ref, conn)
  wa.log('registering', {
    conn: conn.id,
    signedPreKeyOk: verify(identityPub, generateSignalPubKey(signed.pub), signed.sig),
    os: props.os,
    platform: props.platformType,
    requireFullSync: props.requireFullSync
  })
  const refs = conn.refs.map(ref => el('ref', {}, Buffer.from(ref)))
  const attrs = { from: SERVER, type: 'set', id: `pd${conn.id}`, xmlns: 'md' }
  wa.send(conn, el('iq', attrs, [el('pair-device', {}, refs)]))
}

/** The phone has scanned a QR code. */
export function scanQr(wa, qr, account) {
  const [ref, noiseKey, identityKey, adv] = qr.replace(/^[^#]*#/, '').split(',')
  const conn = wa.refs.get(ref)
  if (conn?.ws.readyState !== 1) throw new Error('qr is unknown or expired')
  const same = (key, text) => key.equals(Buffer.from(text, 'base64'))
  if (!same(conn.reg.noisePub, noiseKey) || !same(conn.reg.identityPub, identityKey)) {
    throw new Error('qr keys do not match the connection')
  }
  for (const one of conn.refs) wa.refs.delete(one)
  pairSuccess(wa, conn, account, Buffer.from(adv, 'base64'))
}

/** The phone vouches for the new client; it has to sign in turn. */
export function pairSuccess(wa, conn, account, advSecret) {
  const id = account.next++
  const companion = { id, keyIndex: id, ...conn.reg, preKeys: new Map(), pending: [] }
  conn.pairing = { account, companion }
  const identity = { rawId: randomBytes(4).readUInt32BE(), timestamp: nowSec(), keyIndex: id }
  const details = encoded('ADVDeviceIdentity', { ...identity, accountType: 0, deviceType: 0 })
  const claim = Buffer.concat([WA_ADV_ACCOUNT_SIG_PREFIX, details, companion.identityPub])
  const signed = encoded('ADVSignedDeviceIdentity', {
    details,
    accountSignatureKey: account.phone.identity.public,
    accountSignature: Curve.sign(account.phone.identity.private, claim)
  })
  const body = encoded('ADVSignedDeviceIdentityHMAC', { details: signed, hmac: hmacSign(signed, advSecret) })
  const content = [
    el('device-identity', {}, body),
    el('device', { jid: pnJid(account.pn, id), lid: lidJid(account.lid, id) }),
    el('platform', { name: 'android' })
  ]
  const attrs = { from: SERVER, type: 'set', id: `ps${conn.id}`, xmlns: 'md', t: nowSec() }
  wa.send(conn, el('iq', attrs, [el('pair-success', {}, content)]))
  wa.log('pair-success-sent', { account: account.pn, device: id })
}

const encoded = (type, value) => Buffer.from(proto[type].encode(value).finish())

/** The client's signature over all of it: from here on it is linked. */
export function pairSigned(wa, conn, node) {
  const { account, companion } = conn.pairing
  const identity = kid(kid(node, 'pair-device-sign'), 'device-identity')
  const { details, deviceSignature } = proto.ADVSignedDeviceIdentity.decode(bytes(identity))
  const parts = [WA_ADV_DEVICE_SIG_PREFIX, Buffer.from(details), companion.identityPub, account.phone.identity.public]
  const deviceSignatureOk = verify(companion.identityPub, Buffer.concat(parts), Buffer.from(deviceSignature))
  wa.log('paired', {
    account: account.pn,
    device: companion.id,
    deviceSignatureOk,
    keyIndex: identity.attrs['key-index']
  })
  if (!deviceSignatureOk) return streamError(wa, conn, 500)
  account.companions.set(companion.id, companion)
  conn.pairing = undefined
  if (wa.knobs.restartAfterPair) streamError(wa, conn, 515)
}
