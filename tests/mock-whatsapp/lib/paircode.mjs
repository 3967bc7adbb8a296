// Linking by a code that the owner types on the phone: both the server's and the phone's part. Called by queries.mjs
// for the former, by control.mjs for the latter.
import { randomBytes } from 'node:crypto'
import { SERVER, digits, newId } from './jids.mjs'
import { pairSuccess } from './login.mjs'
import {
  Curve,
  aesDecryptCTR,
  aesDecryptGCM,
  aesEncryptCTR,
  derivePairingCodeKey,
  el,
  hkdf,
  kidBytes,
  nowSec
} from './wa.mjs'

const NONE = Buffer.alloc(0)

/** A stanza of the client about linking by code. */
export function onCodeStage(wa, conn, node, done) {
  const pn = digits(node.attrs.jid)
  if (node.attrs.stage === 'companion_hello') return onRequest(wa, conn, node, pn, done)
  if (node.attrs.stage === 'companion_finish') return onFinish(wa, conn, node, pn, done)
  wa.log('unhandled-iq', { xmlns: 'md', stage: node.attrs.stage })
  return done()
}

function onRequest(wa, conn, node, pn, done) {
  const ref = randomBytes(16)
  const wrapped = kidBytes(node, 'link_code_pairing_wrapped_companion_ephemeral_pub')
  wa.codes.set(pn, { conn, ref, wrapped })
  wa.log('pairing-code-requested', { pn, platform: kidBytes(node, 'companion_platform_display')?.toString() })
  const content = [el('link_code_pairing_ref', {}, ref)]
  done([el('link_code_companion_reg', { stage: 'companion_hello' }, content)])
}

function onFinish(wa, conn, node, pn, done) {
  done()
  const { shared } = wa.codes.get(pn)
  const account = wa.people.account(pn)
  const bundle = kidBytes(node, 'link_code_pairing_wrapped_key_bundle')
  const identity = kidBytes(node, 'companion_identity_public')
  const info = 'link_code_pairing_key_bundle_encryption_key'
  const key = Buffer.from(hkdf(shared, 32, { salt: bundle.subarray(0, 32), info }))
  const plain = aesDecryptGCM(bundle.subarray(44), key, bundle.subarray(32, 44), NONE)
  const bundleOk =
    plain.subarray(0, 32).equals(identity) && plain.subarray(32, 64).equals(account.phone.identity.public)
  const secret = Buffer.concat([
    shared,
    Curve.sharedKey(account.phone.identity.private, identity),
    plain.subarray(64, 96)
  ])
  wa.log('pairing-code-finish', { pn, bundleOk })
  pairSuccess(wa, conn, account, Buffer.from(hkdf(secret, 32, { info: 'adv_secret' })))
}

/** The owner types the code. */
export async function enterCode(wa, code, account) {
  const pairing = wa.codes.get(account.pn)
  if (!pairing) throw new Error('no pairing code was asked for this number')
  const typed = code.replace('-', '')
  const { wrapped } = pairing
  const key = await derivePairingCodeKey(typed, wrapped.subarray(0, 32))
  const companion = aesDecryptCTR(wrapped.subarray(48, 80), key, wrapped.subarray(32, 48))
  const ephemeral = Curve.generateKeyPair()
  const salt = randomBytes(32)
  const iv = randomBytes(16)
  pairing.shared = Curve.sharedKey(ephemeral.private, companion)
  const answer = aesEncryptCTR(ephemeral.public, await derivePairingCodeKey(typed, salt), iv)
  const content = [
    el('link_code_pairing_ref', {}, pairing.ref),
    el('primary_identity_pub', {}, account.phone.identity.public),
    el('link_code_pairing_wrapped_primary_ephemeral_pub', {}, Buffer.concat([salt, iv, answer]))
  ]
  const attrs = { from: SERVER, type: 'link_code_companion_reg', id: newId(), t: nowSec() }
  const stage = el('link_code_companion_reg', { stage: 'primary_hello' }, content)
  wa.send(pairing.conn, el('notification', attrs, [stage]))
}
