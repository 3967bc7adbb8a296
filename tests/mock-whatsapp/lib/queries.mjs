// Answers what a client asks the server for: keys, people, groups, settings. Called by server.mjs for each `iq`.
import { SERVER, lidJid, pnJid } from './jids.mjs'
import { shareHistory } from './history.mjs'
import { pushBacklog } from './incoming.mjs'
import { pairSigned, streamError } from './login.mjs'
import { onCodeStage } from './paircode.mjs'
import { popPreKey, preKeyNode } from './prekeys.mjs'
import { allKids, bytes, el, encodeBigEndian, jidDecode, kid, kidBytes, kids, uint } from './wa.mjs'

const PRIVACY = {
  readreceipts: 'all',
  last: 'all',
  online: 'all',
  profile: 'all',
  groupadd: 'all',
  status: 'contacts',
  calladd: 'all'
}
const MEDIA_CONN = { auth: 'mock-auth', ttl: 3600, auth_ttl: 3600, max_buckets: 12 }

/** Handlers of questions by their namespace; `done` answers with the nodes that it is given. */
const QUERIES = {
  'w:p': (wa, conn, iq, child, done) => (wa.log('ping'), done()),
  passive: async (wa, conn, iq, child, done) => {
    done()
    if (child?.tag !== 'active') return
    pushBacklog(wa, conn)
    await shareHistory(wa, conn)
  },
  encrypt: onKeys,
  usync: onUsync,
  abt: (wa, conn, iq, child, done) =>
    done([el('props', { protocol: 1, hash: 'mockhash' }, [el('prop', { name: '10518', value: 'true' })])]),
  blocklist: (wa, conn, iq, child, done) => done([el('list', {}, [])]),
  privacy: onPrivacy,
  'w:m': (wa, conn, iq, child, done) => {
    wa.log('media-conn')
    done([
      el('media_conn', MEDIA_CONN, [el('host', { hostname: wa.media.host, maxContentLengthBytes: 1 << 26 })])
    ])
  },
  'w:sync:app:state': (wa, conn, iq, child, done) => {
    const collections = allKids(child, 'collection').map(({ attrs: { name, version } }) =>
      el('collection', { name, version: Math.max(1, +version || 0), type: 'result' }, [])
    )
    done([el('sync', {}, collections)])
  },
  'w:g2': onGroups,
  md: onDevices,
  'w:profile:picture': (wa, conn, iq) => wa.error(conn, iq, 404, 'item-not-found'),
  'w:mex': (wa, conn, iq, child, done) => done([el('result', {}, Buffer.from('{"data":{}}'))])
}
for (const name of ['urn:xmpp:whatsapp:dirty', 'w:stats', 'status', 'disappearing_mode']) {
  QUERIES[name] = (wa, conn, iq, child, done) => done()
}

export async function onQuery(wa, conn, iq) {
  const { xmlns, type } = iq.attrs
  const [child] = kids(iq)
  if (type === 'result' || type === 'error') {
    if (conn.pairing && kid(iq, 'pair-device-sign')) pairSigned(wa, conn, iq)
    return
  }
  if (wa.knobs.slowIqMs) await new Promise(resolve => setTimeout(resolve, wa.knobs.slowIqMs))
  if (wa.knobs.silentXmlns.includes(xmlns)) {
    wa.log('iq-ignored', { xmlns, child: child?.tag })
    return
  }
  const done = content => wa.result(conn, iq, content)
  if (QUERIES[xmlns]) await QUERIES[xmlns](wa, conn, iq, child, done)
  else unhandled(wa, iq, child, done)
}

function unhandled(wa, iq, child, done) {
  wa.log('unhandled-iq', { xmlns: iq.attrs.xmlns, type: iq.attrs.type, child: child?.tag, attrs: iq.attrs })
  done()
}

function onPrivacy(wa, conn, iq, child, done) {
  if (child?.tag === 'tokens') {
    wa.log('privacy-tokens', { to: kids(child).map(token => token.attrs.jid) })
    return done([el('tokens', {}, [])])
  }
  const categories = Object.entries(PRIVACY).map(([name, value]) => el('category', { name, value }))
  return done([el('privacy', {}, categories)])
}

function onKeys(wa, conn, iq, child, done) {
  const { companion } = conn
  if (iq.attrs.type === 'get') {
    if (child.tag === 'count') return done([el('count', { value: companion.preKeys.size })])
    if (child.tag === 'digest') {
      const registration = el('registration', {}, encodeBigEndian(companion.registrationId))
      const content = [registration, el('type', {}, Buffer.from([5])), el('identity', {}, companion.identityPub)]
      return done([el('digest', {}, content)])
    }
    if (child.tag === 'key') {
      const jids = allKids(child, 'user').map(user => user.attrs.jid)
      wa.log('prekey-fetch', { jids })
      return done([
        el(
          'list',
          {},
          jids.map(jid => bundleOf(wa, jid))
        )
      ])
    }
  }
  const list = kid(iq, 'list')
  const signed = kid(list ? iq : kid(iq, 'rotate'), 'skey')
  if (!signed) return unhandled(wa, iq, child, done)
  companion.signed = {
    id: uint(kidBytes(signed, 'id')),
    pub: kidBytes(signed, 'value'),
    sig: kidBytes(signed, 'signature')
  }
  for (const key of allKids(list, 'key')) companion.preKeys.set(uint(kidBytes(key, 'id')), kidBytes(key, 'value'))
  if (list) wa.log('prekeys-uploaded', { device: companion.id, total: companion.preKeys.size })
  return done()
}

/** The keys by which a session with a device is begun. */
function bundleOf(wa, jid) {
  const device = wa.people.deviceOf(jid)
  if (device) {
    const { keyId, keyPair, signature } = device.signedPreKey
    const signed = { id: keyId, pub: keyPair.public, sig: signature }
    const { registrationId, identity } = device
    return bundleNode(jid, { registrationId, identityPub: identity.public, signed }, device.takePreKey())
  }
  const { user, device: id } = jidDecode(jid)
  const other = wa.people.person(user).companions?.get(id)
  if (!other) return el('user', { jid }, [el('error', { code: 404, text: 'item-not-found' })])
  return bundleNode(jid, other, popPreKey(other))
}

function bundleNode(jid, { registrationId, identityPub, signed }, preKey) {
  return el('user', { jid, t: Math.floor(Date.now() / 1000) }, [
    el('registration', {}, encodeBigEndian(registrationId)),
    el('type', {}, Buffer.from([5])),
    el('identity', {}, identityPub),
    el('skey', {}, [
      el('id', {}, encodeBigEndian(signed.id, 3)),
      el('value', {}, signed.pub),
      el('signature', {}, signed.sig)
    ]),
    ...(preKey ? [preKeyNode(preKey)] : [])
  ])
}

function onUsync(wa, conn, iq, usync, done) {
  const users = allKids(kid(usync, 'list'), 'user')
  const want = kids(kid(usync, 'query')).map(query => query.tag)
  const list = users.map(user => userOf(wa, user, new Set(want)))
  wa.log('usync', { want, users: users.map(user => user.attrs.jid || 'phone') })
  const { sid, mode, context } = usync.attrs
  const content = [
    el(
      'result',
      {},
      want.map(tag => el(tag))
    ),
    el('list', {}, list)
  ]
  done([el('usync', { sid, mode, context, index: 0, last: true }, content)])
}

function userOf(wa, user, want) {
  const phone = bytes(kid(user, 'contact'))?.toString()
  const person = wa.people.person(user.attrs.jid || phone)
  const jid = user.attrs.jid || pnJid(person.pn)
  const exists = person.exists !== false
  const content = []
  if (want.has('contact')) content.push(el('contact', { type: exists ? 'in' : 'out' }))
  if (want.has('devices') && exists) {
    const ids = person.phone ? [0, ...person.companions.keys()] : person.devices.map(device => device.id)
    const devices = ids.map(id => el('device', { id, 'key-index': id || undefined }))
    content.push(el('devices', {}, [el('device-list', { hash: '2:mock' }, devices)]))
  }
  if (want.has('lid') && jid.endsWith(`@${SERVER}`) && exists)
    content.push(el('lid', { val: lidJid(person.lid) }))
  return el('user', { jid }, content)
}

function onGroups(wa, conn, iq, child, done) {
  wa.log('group-iq', { to: iq.attrs.to, child: child?.tag })
  if (child?.tag === 'query') {
    const group = wa.people.groups.get(iq.attrs.to)
    return group ? done([wa.people.groupNode(group)]) : wa.error(conn, iq, 404, 'item-not-found')
  }
  if (child?.tag !== 'participating') return done()
  const groups = [...wa.people.groups.values()].filter(group => group.members.includes(conn.account.pn))
  return done([
    el(
      'groups',
      {},
      groups.map(group => wa.people.groupNode(group))
    )
  ])
}

function onDevices(wa, conn, iq, child, done) {
  if (child?.tag === 'link_code_companion_reg') return onCodeStage(wa, conn, child, done)
  if (child?.tag !== 'remove-companion-device') return unhandled(wa, iq, child, done)
  done()
  wa.log('client-logout', { jid: child.attrs.jid })
  if (!conn.companion) return undefined
  conn.account.companions.delete(conn.companion.id)
  return streamError(wa, conn, 401)
}
