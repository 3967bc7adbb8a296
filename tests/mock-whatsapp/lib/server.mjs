import http from 'node:http'
import { EventEmitter } from 'node:events'
import { createHash, randomBytes } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { WebSocketServer } from 'ws'
import * as libsignal from 'libsignal'
import { NoiseResponder, makeCertChain } from './noise.mjs'
import { Device } from './device.mjs'
import { MediaStore, encryptMedia, decryptMedia } from './media.mjs'
import {
  proto, Curve, hkdf, hmacSign, aesEncryptCTR, aesDecryptCTR, aesDecryptGCM, derivePairingCodeKey,
  encodeBinaryNode, decodeBinaryNode, encodeBigEndian, generateSignalPubKey, jidDecode,
  WA_ADV_ACCOUNT_SIG_PREFIX, WA_ADV_DEVICE_SIG_PREFIX,
  el, kid, kids, allKids, bytes, kidBytes, uint, nowSec, verify
} from './wa.mjs'

const S = 's.whatsapp.net'
const pnJid = (u, d) => (d ? `${u}:${d}@${S}` : `${u}@${S}`)
const lidJid = (u, d) => (d ? `${u}:${d}@lid` : `${u}@lid`)
const defLid = pn => '2' + pn.padStart(14, '0')
const newId = () => '3A' + randomBytes(9).toString('hex').toUpperCase()
const sleep = ms => new Promise(r => setTimeout(r, ms))
const digits = s => String(s).replace(/@.*/, '').replace(/:.*/, '').replace(/\D/g, '')

export class MockWa extends EventEmitter {
  constructor(opts = {}) {
    super()
    this.root = Curve.generateKeyPair()
    this.staticKey = Curve.generateKeyPair()
    this.cert = makeCertChain(this.root, this.staticKey.public)
    const { intermediate: ic, leaf } = proto.CertChain.decode(this.cert)
    const ik = proto.CertChain.NoiseCertificate.Details.decode(ic.details)
    if (!verify(this.root.public, ic.details, ic.signature) || !verify(ik.key, leaf.details, leaf.signature) || ik.issuerSerial !== 0) throw new Error('mock certificate chain is wrong')
    this.conns = new Set()
    this.accounts = new Map() // pn -> {pn, lid, name, phone, companions}
    this.people = new Map()   // pn -> {pn, lid, name, devices, exists}
    this.byLid = new Map()
    this.groups = new Map()
    this.refs = new Map()     // qr ref -> conn
    this.codes = new Map()    // pn -> {conn, ref, wrapped}
    this.received = []
    this.events = []
    this.seq = 0
    this.sent = new Map()     // id -> everything needed to encrypt it again on a retry receipt
    this.knobs = {
      qrRefs: 6, ack: 'auto', ackDelayMs: 0, deliver: true, read: false, history: true, historyMessages: 3,
      historyConversations: 2, historyInline: true, refuse: 0, refuseStatus: 503, failLogin: 0, silent: false, silentXmlns: [],
      edgeRouting: true, extraDevices: 0, addressing: 'lid', restartAfterPair: true, ackReceipts: true, slowIqMs: 0,
      ...opts.knobs
    }
    this.media = new MediaStore((t, d) => this.log(t, d))
    this.http = http.createServer((_, res) => res.writeHead(404).end())
    this.wss = new WebSocketServer({ noServer: true, maxPayload: 64 << 20 })
    this.http.on('upgrade', (req, sock, head) => {
      if (this.knobs.refuse > 0) {
        this.knobs.refuse--
        this.log('refused', { status: this.knobs.refuseStatus })
        return sock.end(`HTTP/1.1 ${this.knobs.refuseStatus} mock\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
      }
      this.wss.handleUpgrade(req, sock, head, ws => this.#accept(ws, req))
    })
    this.port = opts.port ?? 0
  }

  log(type, data = {}) {
    const e = { seq: ++this.seq, t: Date.now(), type, ...data }
    this.events.push(e)
    if (this.events.length > 20000) this.events.splice(0, 5000)
    this.emit('event', e)
    return e
  }
  async listen() {
    await new Promise((r, j) => this.http.once('error', j).listen(this.port, '127.0.0.1', r))
    this.port = this.http.address().port
    if (!this.media.host) await this.media.listen()
    this.url = `ws://127.0.0.1:${this.port}/ws/chat`
  }
  async unlisten() {
    for (const c of this.conns) c.ws.terminate()
    await new Promise(r => this.http.close(r))
  }

  // ---------------------------------------------------------------- people
  account(pn) {
    pn = digits(pn || '15550009999')
    let a = this.accounts.get(pn)
    if (!a) {
      a = { pn, lid: defLid(pn), name: 'Mock Owner', companions: new Map(), next: 1 }
      a.phone = new Device(a.lid, 0)
      this.accounts.set(pn, a)
      this.byLid.set(a.lid, a)
    }
    return a
  }
  person(x) {
    const u = digits(x)
    if (this.accounts.has(u)) return this.accounts.get(u)
    if (this.byLid.has(u)) return this.byLid.get(u)
    if (this.people.has(u)) return this.people.get(u)
    const p = { pn: u, lid: defLid(u), name: 'Contact ' + u.slice(-4), exists: true, devices: [] }
    p.devices.push(new Device(p.lid, 0))
    for (let i = 1; i <= this.knobs.extraDevices; i++) p.devices.push(new Device(p.lid, i))
    this.people.set(u, p)
    this.byLid.set(p.lid, p)
    return p
  }
  /** the mock end-to-end device a jid stands for, or undefined when it is a linked client */
  deviceOf(jid) {
    const d = jidDecode(jid)
    const p = this.person(d.user)
    if (p.phone) return d.device ? undefined : p.phone
    return p.devices[d.device || 0]
  }
  addrOf(acc, comp) { return new libsignal.ProtocolAddress(acc.lid, comp.id) }

  // ---------------------------------------------------------------- transport
  #accept(ws, req) {
    const conn = { ws, id: this.seq + 1, noise: new NoiseResponder({ staticKey: this.staticKey, certChain: this.cert }), q: Promise.resolve() }
    this.conns.add(conn)
    this.log('connect', { conn: conn.id, ed: !!new URL(req.url, 'http://x').searchParams.get('ED') })
    ws.on('message', data => {
      let outs
      try { outs = conn.noise.feed(data) } catch (e) { this.log('noise-error', { error: e.message }); return ws.terminate() }
      for (const o of outs) {
        if (o.reply) { this.log('client-hello', { conn: conn.id, routing: !!conn.noise.routing }); ws.send(o.reply) }
        else conn.q = conn.q.then(() => this.#in(conn, o)).catch(e => this.log('mock-error', { error: e.stack }))
      }
    })
    ws.on('close', code => {
      this.conns.delete(conn)
      if (conn.comp?.conn === conn) conn.comp.conn = undefined
      this.log('disconnect', { conn: conn.id, account: conn.acc?.pn, device: conn.comp?.id, code })
    })
    ws.on('error', () => {})
  }
  send(conn, node) {
    if (!conn || conn.ws.readyState !== 1) return false
    conn.ws.send(conn.noise.seal(Buffer.from(encodeBinaryNode(node))))
    return true
  }
  async #in(conn, o) {
    if (o.login) return this.#login(conn, o.login, o.clientStatic)
    const node = await decodeBinaryNode(o.plain)
    conn.last = Date.now()
    if (this.knobs.silent) return
    this.emit('node', node)
    const fn = { iq: '_iq', message: '_message', receipt: '_receipt', ack: '_ack', chatstate: '_chatstate', presence: '_presence', ib: '_ib', notification: '_ib' }[node.tag]
    if (fn) await this[fn](conn, node)
    else this.log('unhandled-stanza', { tag: node.tag, attrs: node.attrs })
  }
  result(conn, iq, content) { this.send(conn, el('iq', { from: iq.attrs.to && iq.attrs.to !== '@g.us' ? iq.attrs.to : S, type: 'result', id: iq.attrs.id }, content)) }
  error(conn, iq, code, text) { this.send(conn, el('iq', { from: S, type: 'error', id: iq.attrs.id }, [el('error', { code, text })])) }

  // ---------------------------------------------------------------- login and pairing
  async #login(conn, p, clientStatic) {
    const reg = p.devicePairingData
    if (this.knobs.failLogin) {
      const reason = this.knobs.failLogin
      this.knobs.failLogin = 0
      this.log('login-failed', { reason })
      this.send(conn, el('failure', { reason, location: 'mock' }))
      return this.#closeSoon(conn)
    }
    if (reg) {
      conn.reg = {
        noisePub: clientStatic, identityPub: Buffer.from(reg.eIdent), registrationId: uint(reg.eRegid),
        signed: { id: uint(reg.eSkeyId), pub: Buffer.from(reg.eSkeyVal), sig: Buffer.from(reg.eSkeySig) },
        props: proto.DeviceProps.decode(reg.deviceProps)
      }
      const okSig = verify(conn.reg.identityPub, generateSignalPubKey(conn.reg.signed.pub), conn.reg.signed.sig)
      conn.refs = Array.from({ length: this.knobs.qrRefs }, () => '2@' + randomBytes(40).toString('base64'))
      for (const r of conn.refs) this.refs.set(r, conn)
      this.log('registering', { conn: conn.id, noisePub: clientStatic.toString('base64').slice(0, 8), signedPreKeyOk: okSig, os: conn.reg.props.os, platform: conn.reg.props.platformType, requireFullSync: conn.reg.props.requireFullSync })
      this.send(conn, el('iq', { from: S, type: 'set', id: 'pd' + conn.id, xmlns: 'md' }, [
        el('pair-device', {}, conn.refs.map(r => el('ref', {}, Buffer.from(r))))]))
      return
    }
    const pn = String(p.username), dev = p.device || 0
    const acc = this.accounts.get(pn), comp = acc?.companions.get(dev)
    if (!comp || !comp.noisePub.equals(clientStatic)) {
      this.log('login-unknown', { pn, device: dev })
      this.send(conn, el('failure', { reason: 401, location: 'mock' }))
      return this.#closeSoon(conn)
    }
    if (comp.conn && comp.conn !== conn) this.#streamError(comp.conn, 440)
    conn.acc = acc; conn.comp = comp; comp.conn = conn
    comp.logins = (comp.logins || 0) + 1
    this.log('login', { account: pn, device: dev, passive: !!p.passive, n: comp.logins })
    this.send(conn, el('success', { t: nowSec(), lid: lidJid(acc.lid, comp.id), props: 1, companion_enc_static: 'x' }))
  }
  #closeSoon(conn, ms = 60) { setTimeout(() => conn.ws.close(), ms) }
  #streamError(conn, code, kind) {
    const content = []
    if (code === 401) content.push(el('conflict', { type: kind || 'device_removed' }))
    const node = code === 440 ? el('stream:error', {}, [el('conflict', { type: 'replaced' })]) : el('stream:error', { code }, content)
    this.send(conn, node)
    this.log('stream-error-sent', { code, account: conn.acc?.pn, device: conn.comp?.id })
    this.#closeSoon(conn)
  }
  async #pairSuccess(conn, acc, advSecret) {
    const r = conn.reg
    const comp = {
      id: acc.next++, noisePub: r.noisePub, identityPub: r.identityPub, registrationId: r.registrationId,
      signed: r.signed, preKeys: new Map(), pending: new Map(), props: r.props
    }
    comp.keyIndex = comp.id
    acc.pairing = comp
    conn.pairing = { acc, comp }
    const details = Buffer.from(proto.ADVDeviceIdentity.encode({ rawId: randomBytes(4).readUInt32BE(), timestamp: nowSec(), keyIndex: comp.keyIndex, accountType: 0, deviceType: 0 }).finish())
    const signedId = Buffer.from(proto.ADVSignedDeviceIdentity.encode({
      details, accountSignatureKey: acc.phone.identity.public,
      accountSignature: Curve.sign(acc.phone.identity.private, Buffer.concat([WA_ADV_ACCOUNT_SIG_PREFIX, details, r.identityPub]))
    }).finish())
    const body = Buffer.from(proto.ADVSignedDeviceIdentityHMAC.encode({ details: signedId, hmac: hmacSign(signedId, advSecret) }).finish())
    comp.details = details
    this.send(conn, el('iq', { from: S, type: 'set', id: 'ps' + conn.id, xmlns: 'md', t: nowSec() }, [
      el('pair-success', {}, [
        el('device-identity', {}, body),
        el('device', { jid: pnJid(acc.pn, comp.id), lid: lidJid(acc.lid, comp.id) }),
        el('platform', { name: 'android' })])]))
    this.log('pair-success-sent', { account: acc.pn, device: comp.id })
  }
  #pairSigned(conn, node) {
    const { acc, comp } = conn.pairing
    const di = kid(kid(node, 'pair-device-sign'), 'device-identity')
    const a = proto.ADVSignedDeviceIdentity.decode(bytes(di))
    const ok = verify(comp.identityPub, Buffer.concat([WA_ADV_DEVICE_SIG_PREFIX, Buffer.from(a.details), comp.identityPub, acc.phone.identity.public]), Buffer.from(a.deviceSignature))
    this.log('paired', { account: acc.pn, device: comp.id, deviceSignatureOk: ok, keyIndex: di.attrs['key-index'] })
    if (!ok) return this.#streamError(conn, 500)
    acc.companions.set(comp.id, comp)
    conn.pairing = undefined
    if (this.knobs.restartAfterPair) this.#streamError(conn, 515)
  }

  // ---------------------------------------------------------------- iq
  async _iq(conn, n) {
    const { xmlns, type, id } = n.attrs
    const c = kids(n)[0]
    if (type === 'result' || type === 'error') {
      if (conn.pairing && kid(n, 'pair-device-sign')) return this.#pairSigned(conn, n)
      return
    }
    if (this.knobs.slowIqMs) await sleep(this.knobs.slowIqMs)
    if (this.knobs.silentXmlns.includes(xmlns)) return this.log('iq-ignored', { xmlns, child: c?.tag })
    const { acc, comp } = conn
    const done = content => this.result(conn, n, content)
    switch (xmlns) {
      case 'w:p': this.log('ping'); return done()
      case 'passive':
        done()
        if (c?.tag === 'active') await this.#wentActive(conn)
        return
      case 'encrypt': return this.#encryptIq(conn, n, c, done)
      case 'usync': return this.#usync(conn, n, done)
      case 'abt': return done([el('props', { protocol: 1, hash: 'mockhash' }, [el('prop', { name: '10518', value: 'true' })])])
      case 'blocklist': return done([el('list', {}, [])])
      case 'privacy':
        if (c?.tag === 'tokens') { this.log('privacy-tokens', { to: kids(c).map(x => x.attrs.jid) }); return done([el('tokens', {}, [])]) }
        return done([el('privacy', {}, [['readreceipts', 'all'], ['last', 'all'], ['online', 'all'], ['profile', 'all'], ['groupadd', 'all'], ['status', 'contacts'], ['calladd', 'all']]
          .map(([name, value]) => el('category', { name, value })))])
      case 'w:m': this.log('media-conn'); return done([el('media_conn', { auth: 'mock-auth', ttl: 3600, auth_ttl: 3600, max_buckets: 12 }, [el('host', { hostname: this.media.host, maxContentLengthBytes: 1 << 26 })])])
      case 'w:sync:app:state': return done([el('sync', {}, allKids(c, 'collection').map(x => el('collection', { name: x.attrs.name, version: Math.max(1, +x.attrs.version || 0), type: 'result' }, [])))])
      case 'w:g2': return this.#group(conn, n, c, done)
      case 'md': return this.#md(conn, n, c, done)
      case 'w:profile:picture': return this.error(conn, n, 404, 'item-not-found')
      case 'urn:xmpp:whatsapp:dirty': case 'w:stats': case 'status': case 'disappearing_mode': return done()
      case 'w:mex': return done([el('result', {}, Buffer.from(JSON.stringify({ data: {} })))])
      default:
        this.log('unhandled-iq', { xmlns, type, child: c?.tag, attrs: n.attrs })
        return done()
    }
  }
  async #wentActive(conn) {
    const { acc, comp } = conn
    comp.active = true
    if (this.knobs.edgeRouting) this.send(conn, el('ib', { from: S }, [el('edge_routing', {}, [el('routing_info', {}, Buffer.from([8, 13, 8, 5]))])]))
    const queue = [...comp.pending.values()]
    if (queue.length) this.send(conn, el('ib', { from: S }, [el('offline_preview', { count: queue.length, message: queue.length, notification: 0, receipt: 0 })]))
    for (const m of queue) await this.#push(acc, comp, m, { offline: true })
    this.send(conn, el('ib', { from: S }, [el('offline', { count: queue.length })]))
    this.log('active', { account: acc.pn, device: comp.id, offline: queue.length })
    if (this.knobs.history && !comp.historySent) {
      comp.historySent = true
      await sleep(50)
      await this.#phoneShares(acc, comp)
    }
  }
  /** what the phone tells a freshly linked device: app-state key, then the bootstrap history */
  async #phoneShares(acc, comp) {
    const T = proto.Message.ProtocolMessage.Type
    const key = { keyId: { keyId: Buffer.from([0, 0, 0, 0, 0, comp.id]) }, keyData: { keyData: randomBytes(32), fingerprint: { rawId: 1, currentIndex: 0, deviceIndexes: [0] }, timestamp: nowSec() } }
    await this.fromPhone(acc, comp, { protocolMessage: { type: T.APP_STATE_SYNC_KEY_SHARE, appStateSyncKeyShare: { keys: [key] } } })
    const people = Array.from({ length: this.knobs.historyConversations }, (_, i) => this.person(String(15551110000 + i)))
    const hist = {
      syncType: proto.HistorySync.HistorySyncType.INITIAL_BOOTSTRAP, chunkOrder: 0, progress: 100,
      phoneNumberToLidMappings: people.map(p => ({ pnJid: pnJid(p.pn), lidJid: lidJid(p.lid) })),
      conversations: people.map(p => ({
        id: lidJid(p.lid), pnJid: pnJid(p.pn), name: p.name, conversationTimestamp: nowSec(), unreadCount: 0,
        messages: Array.from({ length: this.knobs.historyMessages }, (_, i) => ({
          message: { key: { remoteJid: lidJid(p.lid), fromMe: false, id: newId() }, message: { conversation: `old message ${i} ` + 'x'.repeat(80) }, messageTimestamp: nowSec() - 3600 + i }
        }))
      }))
    }
    const z = deflateSync(Buffer.from(proto.HistorySync.encode(hist).finish()))
    const note = { syncType: hist.syncType, chunkOrder: 0, progress: 100 }
    if (this.knobs.historyInline && z.length < 8 << 20) note.initialHistBootstrapInlinePayload = z
    else {
      const m = this.#encHistory(z)
      Object.assign(note, m)
    }
    await this.fromPhone(acc, comp, { protocolMessage: { type: T.HISTORY_SYNC_NOTIFICATION, historySyncNotification: note } })
    this.log('history-sent', { account: acc.pn, device: comp.id, bytes: z.length })
  }
  #encHistory(z) {
    // same construction as other media, under the 'History' info string
    const e = encryptMedia(z, 'history')
    return { mediaKey: e.mediaKey, directPath: this.media.put(e.enc), fileSha256: e.fileSha256, fileEncSha256: e.fileEncSha256, fileLength: e.fileLength }
  }
  async fromPhone(acc, comp, message) {
    const m = { id: newId(), t: nowSec(), sender: acc.phone, fromJid: pnJid(acc.pn), message, attrs: { type: 'text', category: 'peer', push_priority: 'high_force' }, peer: true }
    comp.pending.set(m.id, m)
    await this.#push(acc, comp, m)
  }
  async #encryptIq(conn, n, c, done) {
    const { acc, comp } = conn
    if (n.attrs.type === 'get') {
      if (c.tag === 'count') return done([el('count', { value: comp.preKeys.size })])
      if (c.tag === 'digest') return done([el('digest', {}, [el('registration', {}, encodeBigEndian(comp.registrationId)), el('type', {}, Buffer.from([5])), el('identity', {}, comp.identityPub)])])
      if (c.tag === 'key') {
        const users = allKids(c, 'user')
        this.log('prekey-fetch', { jids: users.map(u => u.attrs.jid) })
        return done([el('list', {}, users.map(u => {
          const jid = u.attrs.jid, dev = this.deviceOf(jid)
          if (dev) return this.#bundleNode(jid, { registrationId: dev.registrationId, identityPub: dev.identity.public, signed: { id: dev.signedPreKey.keyId, pub: dev.signedPreKey.keyPair.public, sig: dev.signedPreKey.signature } }, dev.takePreKey())
          const d = jidDecode(jid), other = this.person(d.user).companions?.get(d.device)
          if (!other) return el('user', { jid }, [el('error', { code: 404, text: 'item-not-found' })])
          return this.#bundleNode(jid, other, this.#popPreKey(other))
        }))])
      }
    }
    if (kid(n, 'list')) {
      for (const k of allKids(kid(n, 'list'), 'key')) comp.preKeys.set(uint(kidBytes(k, 'id')), kidBytes(k, 'value'))
      const sk = kid(n, 'skey')
      comp.signed = { id: uint(kidBytes(sk, 'id')), pub: kidBytes(sk, 'value'), sig: kidBytes(sk, 'signature') }
      this.log('prekeys-uploaded', { device: comp.id, total: comp.preKeys.size })
      return done()
    }
    if (kid(n, 'rotate')) {
      const sk = kid(kid(n, 'rotate'), 'skey')
      comp.signed = { id: uint(kidBytes(sk, 'id')), pub: kidBytes(sk, 'value'), sig: kidBytes(sk, 'signature') }
      return done()
    }
    this.log('unhandled-iq', { xmlns: 'encrypt', child: c?.tag })
    done()
  }
  #popPreKey(comp) {
    const [id] = comp.preKeys.keys()
    if (id === undefined) return undefined
    const pub = comp.preKeys.get(id)
    comp.preKeys.delete(id)
    return { id, public: pub }
  }
  #bundleNode(jid, b, pre) {
    return el('user', { jid, t: nowSec() }, [
      el('registration', {}, encodeBigEndian(b.registrationId)), el('type', {}, Buffer.from([5])), el('identity', {}, b.identityPub),
      el('skey', {}, [el('id', {}, encodeBigEndian(b.signed.id, 3)), el('value', {}, b.signed.pub), el('signature', {}, b.signed.sig)]),
      ...(pre ? [el('key', {}, [el('id', {}, encodeBigEndian(pre.id, 3)), el('value', {}, pre.public)])] : [])])
  }
  #usync(conn, n, done) {
    const u = kid(n, 'usync'), q = kid(u, 'query'), users = allKids(kid(u, 'list'), 'user')
    const want = new Set(kids(q).map(x => x.tag))
    const list = []
    for (const user of users) {
      let jid = user.attrs.jid
      const phone = kid(user, 'contact') && bytes(kid(user, 'contact'))?.toString()
      const p = this.person(jid || phone)
      jid = jid || pnJid(p.pn)
      const out = []
      if (want.has('contact')) out.push(el('contact', { type: p.exists === false ? 'out' : 'in' }))
      if (want.has('devices') && p.exists !== false) {
        const devs = p.phone ? [el('device', { id: 0 }), ...[...p.companions.values()].map(c => el('device', { id: c.id, 'key-index': c.keyIndex }))]
          : p.devices.map(d => el('device', { id: d.id, 'key-index': d.id ? d.id : undefined }))
        out.push(el('devices', {}, [el('device-list', { hash: '2:mock' }, devs)]))
      }
      if (want.has('lid') && jid.endsWith('@' + S) && p.exists !== false) out.push(el('lid', { val: lidJid(p.lid) }))
      list.push(el('user', { jid }, out))
    }
    this.log('usync', { want: [...want], users: users.map(x => x.attrs.jid || 'phone') })
    done([el('usync', { sid: u.attrs.sid, mode: u.attrs.mode, context: u.attrs.context, index: 0, last: true }, [
      el('result', {}, [...want].map(t => el(t))), el('list', {}, list)])])
  }
  #groupNode(g) {
    const lid = g.addressing === 'lid'
    const who = pn => (lid ? lidJid(this.person(pn).lid) : pnJid(pn))
    return el('group', { id: g.id.split('@')[0], subject: g.subject, creation: g.creation, creator: who(g.members[0]), s_t: g.creation, s_o: who(g.members[0]), addressing_mode: g.addressing, size: g.members.length },
      g.members.map((pn, i) => el('participant', { jid: who(pn), ...(lid ? { phone_number: pnJid(pn) } : { lid: lidJid(this.person(pn).lid) }), type: i === 0 ? 'superadmin' : undefined })))
  }
  #group(conn, n, c, done) {
    this.log('group-iq', { to: n.attrs.to, child: c?.tag })
    if (c?.tag === 'query') {
      const g = this.groups.get(n.attrs.to)
      return g ? done([this.#groupNode(g)]) : this.error(conn, n, 404, 'item-not-found')
    }
    if (c?.tag === 'participating') return done([el('groups', {}, [...this.groups.values()].filter(g => g.members.includes(conn.acc.pn)).map(g => this.#groupNode(g)))])
    done()
  }
  async #md(conn, n, c, done) {
    if (c?.tag === 'remove-companion-device') {
      done()
      this.log('client-logout', { jid: c.attrs.jid })
      if (conn.comp) { conn.acc.companions.delete(conn.comp.id); this.#streamError(conn, 401) }
      return
    }
    if (c?.tag === 'link_code_companion_reg') {
      const pn = digits(c.attrs.jid)
      if (c.attrs.stage === 'companion_hello') {
        const ref = randomBytes(16)
        this.codes.set(pn, { conn, ref, wrapped: kidBytes(c, 'link_code_pairing_wrapped_companion_ephemeral_pub') })
        this.log('pairing-code-requested', { pn, platform: kidBytes(c, 'companion_platform_display')?.toString() })
        return done([el('link_code_companion_reg', { stage: 'companion_hello' }, [el('link_code_pairing_ref', {}, ref)])])
      }
      if (c.attrs.stage === 'companion_finish') {
        done()
        const st = this.codes.get(pn), acc = this.account(pn)
        const bundle = kidBytes(c, 'link_code_pairing_wrapped_key_bundle')
        const compIdent = kidBytes(c, 'companion_identity_public')
        const k = Buffer.from(hkdf(st.shared, 32, { salt: bundle.subarray(0, 32), info: 'link_code_pairing_key_bundle_encryption_key' }))
        const plain = aesDecryptGCM(bundle.subarray(44), k, bundle.subarray(32, 44), Buffer.alloc(0))
        const random = plain.subarray(64, 96)
        const identShared = Curve.sharedKey(acc.phone.identity.private, compIdent)
        const adv = Buffer.from(hkdf(Buffer.concat([st.shared, identShared, random]), 32, { info: 'adv_secret' }))
        this.log('pairing-code-finish', { pn, bundleOk: plain.subarray(0, 32).equals(compIdent) && plain.subarray(32, 64).equals(acc.phone.identity.public) })
        return this.#pairSuccess(conn, acc, adv)
      }
    }
    this.log('unhandled-iq', { xmlns: 'md', child: c?.tag })
    done()
  }

  // ---------------------------------------------------------------- client -> world
  async _message(conn, n) {
    const { acc, comp } = conn
    const { to, id, type } = n.attrs
    const from = this.addrOf(acc, comp)
    const rec = { id, to, stanzaType: type, account: acc.pn, device: comp.id, participants: [], attrs: n.attrs, deviceIdentity: !!kid(n, 'device-identity') }
    const isGroup = to.endsWith('@g.us')
    const take = async (jid, enc) => {
      const dev = this.deviceOf(jid)
      const p = { jid, type: enc.attrs.type }
      rec.participants.push(p)
      if (!dev) { p.relayed = true; return }
      try {
        const m = await dev.decrypt(from, enc.attrs.type, bytes(enc))
        if (m.senderKeyDistributionMessage) { await dev.groupLearn(to, from, m.senderKeyDistributionMessage.axolotlSenderKeyDistributionMessage); p.skdm = true }
        p.ok = true
        return m
      } catch (e) { p.error = e.message }
    }
    for (const t of allKids(kid(n, 'participants'), 'to')) {
      const m = await take(t.attrs.jid, kid(t, 'enc'))
      if (!m) continue
      const own = digits(t.attrs.jid) === acc.pn || digits(t.attrs.jid) === acc.lid
      if (own && m.deviceSentMessage) rec.dsm = { destination: m.deviceSentMessage.destinationJid }
      if (!isGroup && (!own || !rec.message)) rec.message = own && m.deviceSentMessage ? m.deviceSentMessage.message : m
    }
    for (const enc of allKids(n, 'enc')) {
      if (enc.attrs.type === 'skmsg') {
        rec.group = []
        const g = this.groups.get(to)
        for (const pn of g?.members || []) {
          const p = this.person(pn)
          for (const dev of p.phone ? [p.phone] : p.devices) {
            try { rec.message = await dev.groupDecrypt(to, from, bytes(enc)); rec.group.push({ pn, device: dev.id, ok: true }) } catch (e) { rec.group.push({ pn, device: dev.id, error: e.message }) }
          }
        }
      } else {
        rec.retryCount = enc.attrs.count
        const m = await take(n.attrs.participant || to, enc)
        if (m) rec.message = m
      }
    }
    if (rec.message) Object.assign(rec, this.#describe(rec.message))
    if (n.attrs.category === 'peer') { this.log('peer-message', { id }); }
    else { rec.seq = this.seq + 1; this.received.push(rec); this.log('message', { id, to, kind: rec.kind, text: rec.text, ok: !!rec.message, retry: rec.retryCount }) }
    if (this.knobs.ack === 'none') return
    if (this.knobs.ackDelayMs) await sleep(this.knobs.ackDelayMs)
    const err = /^error:/.test(this.knobs.ack) ? this.knobs.ack.slice(6) : undefined
    this.send(conn, el('ack', { class: 'message', id, from: to, t: nowSec(), participant: n.attrs.participant, error: err }))
    if (err || n.attrs.category === 'peer' || !this.knobs.deliver) return
    await this.receipt({ account: acc.pn, id, to })
    if (this.knobs.read) await this.receipt({ account: acc.pn, id, to, type: 'read' })
  }
  #describe(msg) {
    let m = msg, wraps = []
    for (;;) {
      const w = ['ephemeralMessage', 'viewOnceMessage', 'viewOnceMessageV2', 'viewOnceMessageV2Extension', 'documentWithCaptionMessage', 'editedMessage'].find(k => m[k]?.message)
      if (!w) break
      wraps.push(w); m = m[w].message
    }
    const o = { wraps: wraps.length ? wraps : undefined }
    if (m.conversation) Object.assign(o, { kind: 'text', text: m.conversation })
    else if (m.extendedTextMessage) Object.assign(o, { kind: 'text', text: m.extendedTextMessage.text, contextInfo: m.extendedTextMessage.contextInfo ? proto.ContextInfo.toObject(m.extendedTextMessage.contextInfo, { bytes: String, longs: Number }) : undefined })
    else if (m.reactionMessage) Object.assign(o, { kind: 'reaction', text: m.reactionMessage.text, target: m.reactionMessage.key?.id })
    else if (m.protocolMessage) Object.assign(o, { kind: 'protocol', protocolType: m.protocolMessage.type, target: m.protocolMessage.key?.id, text: m.protocolMessage.editedMessage?.conversation || m.protocolMessage.editedMessage?.extendedTextMessage?.text })
    else for (const kind of ['image', 'video', 'audio', 'document', 'sticker']) {
      const x = m[kind + 'Message']
      if (!x) continue
      Object.assign(o, { kind, text: x.caption || undefined, mimetype: x.mimetype, fileName: x.fileName || undefined })
      try {
        const blob = this.media.blobs.get(x.directPath)
        const plain = decryptMedia(blob, Buffer.from(x.mediaKey), kind)
        o.media = { size: plain.length, sha256: createHash('sha256').update(plain).digest('hex'), ok: createHash('sha256').update(plain).digest().equals(Buffer.from(x.fileSha256)) }
      } catch (e) { o.media = { error: e.message } }
    }
    o.kind ??= Object.keys(proto.Message.toObject(m))[0]
    return o
  }
  async _receipt(conn, n) {
    const ids = [n.attrs.id, ...kids(kid(n, 'list')).map(i => i.attrs.id)]
    this.log('receipt', { ids, kind: n.attrs.type || 'delivered', to: n.attrs.to, participant: n.attrs.participant })
    if (this.knobs.ackReceipts) this.send(conn, el('ack', { class: 'receipt', id: n.attrs.id, from: n.attrs.to, type: n.attrs.type, t: nowSec() }))
    if (n.attrs.type === 'retry') return this.#retry(conn, n)
    if (n.attrs.type === 'hist_sync' || n.attrs.type === 'read') return
    for (const id of ids) conn.comp?.pending.delete(id)
  }
  async #retry(conn, n) {
    const m = this.sent.get(n.attrs.id)
    if (!m) return
    const count = +(kid(n, 'retry')?.attrs.count || 1)
    if (m.noRetry || count > 5) return
    m.sender.dropSession(this.addrOf(conn.acc, conn.comp))
    m.garble = m.garbleTimes > count
    conn.comp.pending.set(m.id, m)
    await this.#push(conn.acc, conn.comp, m, { count })
  }
  _ack(conn, n) {
    if (n.attrs.class === 'message') {
      this.log('client-ack', { id: n.attrs.id, error: n.attrs.error })
      conn.comp?.pending.delete(n.attrs.id)
    }
  }
  _chatstate(conn, n) { this.log('chatstate', { to: n.attrs.to, state: kids(n)[0]?.tag, media: kids(n)[0]?.attrs.media }) }
  _presence(conn, n) { this.log('presence', { kind: n.attrs.type, name: n.attrs.name, to: n.attrs.to }) }
  _ib() {}

  // ---------------------------------------------------------------- world -> client
  /** encrypts message m for one linked device and sends it, if that device is on line */
  async #push(acc, comp, m, { offline, count } = {}) {
    const conn = comp.conn
    if (!conn || !comp.active || conn.ws.readyState !== 1) return false
    const addr = this.addrOf(acc, comp)
    const dev = m.sender
    const encs = []
    if (!(await dev.hasSession(addr))) {
      const pre = this.#popPreKey(comp)
      await dev.startSession(addr, {
        registrationId: comp.registrationId, identityKey: generateSignalPubKey(comp.identityPub),
        signedPreKey: { keyId: comp.signed.id, publicKey: generateSignalPubKey(comp.signed.pub), signature: comp.signed.sig },
        preKey: pre && { keyId: pre.id, publicKey: generateSignalPubKey(pre.public) }
      })
      if (comp.preKeys.size < 5) this.send(conn, el('notification', { from: S, type: 'encrypt', id: newId(), t: nowSec() }, [el('count', { value: comp.preKeys.size })]))
    }
    const enc = (type, data) => el('enc', { v: 2, type, count }, m.garble ? Buffer.concat([data.subarray(0, -4), randomBytes(4)]) : data)
    if (m.group) {
      const self = new libsignal.ProtocolAddress(dev.user, dev.id)
      m.knows ??= new Set()
      if (!dev.skSent?.has(m.group + comp.id) || count) {
        const skdm = await dev.groupSkdm(m.group, self)
        const e = await dev.encrypt(addr, { senderKeyDistributionMessage: { groupId: m.group, axolotlSenderKeyDistributionMessage: skdm }, ...(count ? m.message : {}) })
        encs.push(enc(e.type, e.data))
        ;(dev.skSent ??= new Set()).add(m.group + comp.id)
      }
      if (!count) encs.push(enc('skmsg', await dev.groupEncrypt(m.group, self, m.message)))
    } else {
      const message = m.dsm ? { deviceSentMessage: { destinationJid: m.dsm, message: m.message } } : m.message
      const e = await dev.encrypt(addr, message)
      encs.push(enc(e.type, e.data))
    }
    this.sent.set(m.id, m)
    this.send(conn, el('message', { from: m.fromJid, id: m.id, t: m.t, ...m.attrs, offline: offline ? 1 : undefined }, encs))
    this.log('pushed', { id: m.id, from: m.fromJid, offline: !!offline, count })
    return true
  }
  /** op send-*: a mock contact writes to the account (or to a group it is in) */
  async inbound({ account, from, group, message, id, addressing, pushName, type, t, garbleTimes = 0, self, companion }) {
    const acc = this.account(account)
    const mode = addressing || (group ? this.groups.get(group)?.addressing : this.knobs.addressing) || 'lid'
    const p = self ? acc : this.person(from)
    const sender = self ? acc.phone : p.devices[companion || 0]
    const who = mode === 'lid' ? lidJid(p.lid, companion) : pnJid(p.pn, companion)
    const alt = mode === 'lid' ? pnJid(p.pn) : lidJid(p.lid)
    const m = { id: id || newId(), t: t || nowSec(), sender, message, group, garbleTimes, garble: garbleTimes > 0, attrs: { type: type || 'text', notify: pushName || p.name, addressing_mode: mode } }
    if (group) { m.fromJid = group; m.attrs.participant = who; m.attrs[mode === 'lid' ? 'participant_pn' : 'participant_lid'] = alt }
    else if (self) { m.fromJid = who; const peer = this.person(from); m.attrs.recipient = mode === 'lid' ? lidJid(peer.lid) : pnJid(peer.pn); m.attrs[mode === 'lid' ? 'peer_recipient_pn' : 'peer_recipient_lid'] = mode === 'lid' ? pnJid(peer.pn) : lidJid(peer.lid); m.dsm = m.attrs.recipient }
    else { m.fromJid = who; m.attrs[mode === 'lid' ? 'sender_pn' : 'sender_lid'] = alt }
    let live = 0
    for (const comp of acc.companions.values()) {
      comp.pending.set(m.id, m)
      if (await this.#push(acc, comp, m)) live++
    }
    return { id: m.id, live, queued: acc.companions.size - live }
  }
  async receipt({ account, id, to, type, participant }) {
    const acc = this.account(account)
    if (to.endsWith('@g.us')) {
      const g = this.groups.get(to)
      for (const pn of participant ? [digits(participant)] : g?.members.filter(x => x !== acc.pn) || []) {
        for (const c of acc.companions.values()) this.send(c.conn, el('receipt', { from: to, id, type, t: nowSec(), participant: g.addressing === 'lid' ? lidJid(this.person(pn).lid) : pnJid(pn) }))
      }
    } else for (const c of acc.companions.values()) this.send(c.conn, el('receipt', { from: to, id, type, t: nowSec() }))
  }

  // ---------------------------------------------------------------- control
  async op(o) {
    const acc = () => this.account(o.account)
    switch (o.op) {
      case 'status': return {
        url: this.url, media: this.media.host, seq: this.seq, knobs: this.knobs,
        accounts: [...this.accounts.values()].map(a => ({ pn: a.pn, lid: a.lid, companions: [...a.companions.values()].map(c => ({ id: c.id, online: !!c.conn, preKeys: c.preKeys.size, pending: [...c.pending.keys()], logins: c.logins || 0 })) })),
        groups: [...this.groups.values()], connections: this.conns.size, received: this.received.length
      }
      case 'set': Object.assign(this.knobs, o.knobs); return this.knobs
      case 'scan-qr': {
        const [ref, noiseKey, identKey, adv] = o.qr.replace(/^[^#]*#/, '').split(',')
        const conn = this.refs.get(ref)
        if (!conn || conn.ws.readyState !== 1) throw new Error('qr is unknown or expired')
        if (!conn.reg.noisePub.equals(Buffer.from(noiseKey, 'base64')) || !conn.reg.identityPub.equals(Buffer.from(identKey, 'base64'))) throw new Error('qr keys do not match the connection')
        for (const r of conn.refs) this.refs.delete(r)
        await this.#pairSuccess(conn, acc(), Buffer.from(adv, 'base64'))
        return { account: acc().pn }
      }
      case 'enter-code': {
        const pn = digits(o.account), st = this.codes.get(pn), a = acc()
        if (!st) throw new Error('no pairing code was asked for this number')
        const code = o.code.replace('-', ''), w = st.wrapped
        const key = await derivePairingCodeKey(code, w.subarray(0, 32))
        const companionEph = aesDecryptCTR(w.subarray(48, 80), key, w.subarray(32, 48))
        const eph = Curve.generateKeyPair(), salt = randomBytes(32), iv = randomBytes(16)
        st.shared = Curve.sharedKey(eph.private, companionEph)
        const wrapped = Buffer.concat([salt, iv, aesEncryptCTR(eph.public, await derivePairingCodeKey(code, salt), iv)])
        this.send(st.conn, el('notification', { from: S, type: 'link_code_companion_reg', id: newId(), t: nowSec() }, [
          el('link_code_companion_reg', { stage: 'primary_hello' }, [
            el('link_code_pairing_ref', {}, st.ref), el('primary_identity_pub', {}, a.phone.identity.public),
            el('link_code_pairing_wrapped_primary_ephemeral_pub', {}, wrapped)])]))
        return { account: pn }
      }
      case 'contact': { const p = this.person(o.pn); for (const k of ['name', 'exists']) if (k in o) p[k] = o[k]; return { pn: p.pn, lid: p.lid, devices: p.devices?.length } }
      case 'forge-key': { for (const d of this.person(o.pn).devices) d.signedPreKey.signature = randomBytes(64); return {} }
      case 'reinstall': { for (const d of this.person(o.pn).devices) d.reset(); return {} }
      case 'send-text': {
        const ctx = o.mention || o.quoted || o.ephemeral ? {
          mentionedJid: (o.mention || []).map(x => (x === 'me' ? ((o.addressing || this.groups.get(o.group)?.addressing || 'lid') === 'lid' ? lidJid(acc().lid) : pnJid(acc().pn)) : x)),
          ...(o.quoted ? { stanzaId: o.quoted.id, participant: o.quoted.participant, quotedMessage: { conversation: o.quoted.text || '' } } : {}),
          ...(o.ephemeral ? { expiration: o.ephemeral } : {})
        } : undefined
        let message = ctx || o.extended ? { extendedTextMessage: { text: o.text, contextInfo: ctx } } : { conversation: o.text }
        if (o.ephemeral) message = { ephemeralMessage: { message } }
        return this.inbound({ ...o, message })
      }
      case 'send-media': {
        const kind = o.kind || 'image'
        const plain = o.base64 ? Buffer.from(o.base64, 'base64') : randomBytes(o.size || 1024)
        const e = encryptMedia(plain, kind), path = this.media.put(e.enc)
        const body = {
          url: this.media.url(path), directPath: path, mediaKey: e.mediaKey, fileSha256: e.fileSha256, fileEncSha256: e.fileEncSha256,
          fileLength: e.fileLength, mimetype: o.mimetype || { image: 'image/jpeg', audio: 'audio/ogg; codecs=opus', video: 'video/mp4', document: 'application/pdf', sticker: 'image/webp' }[kind],
          mediaKeyTimestamp: nowSec(), ...(o.caption ? { caption: o.caption } : {}), ...(kind === 'audio' ? { ptt: !!o.ptt, seconds: 3 } : {}), ...(kind === 'document' ? { fileName: o.fileName || 'file.pdf' } : {}),
          ...(o.viewOnce ? { viewOnce: true } : {})
        }
        if (o.gone) this.media.blobs.delete(path)
        let message = { [kind + 'Message']: body }
        if (o.viewOnce) message = { viewOnceMessageV2: { message } }
        if (o.ephemeral) message = { ephemeralMessage: { message } }
        const r = await this.inbound({ ...o, message, type: 'media' })
        return { ...r, sha256: createHash('sha256').update(plain).digest('hex'), size: plain.length }
      }
      case 'send-raw': return this.inbound({ ...o, message: proto.Message.fromObject(o.message) })
      case 'react': return this.inbound({ ...o, type: 'reaction', message: { reactionMessage: { key: { remoteJid: o.group || pnJid(acc().pn), fromMe: false, id: o.target }, text: o.text, senderTimestampMs: Date.now() } } })
      case 'phone-sends': return this.inbound({ ...o, from: o.to, self: true, message: { conversation: o.text } })
      case 'typing': {
        const p = this.person(o.from)
        for (const c of acc().companions.values()) this.send(c.conn, el('chatstate', { from: o.group || lidJid(p.lid), participant: o.group ? lidJid(p.lid) : undefined }, [el(o.state || 'composing')]))
        return {}
      }
      case 'receipt': await this.receipt(o); return {}
      case 'ask-retry': { // a contact could not decrypt what the client sent and asks for it again
        const p = this.person(o.from), dev = p.devices[0], pre = dev.takePreKey(), a = acc()
        const to = o.group || o.to
        for (const c of a.companions.values()) {
          dev.dropSession(this.addrOf(a, c))
          this.send(c.conn, el('receipt', { from: to || lidJid(p.lid), id: o.id, type: 'retry', t: nowSec(), participant: o.group ? lidJid(p.lid) : undefined }, [
            el('retry', { count: o.count || 1, id: o.id, t: nowSec(), v: 1 }), el('registration', {}, encodeBigEndian(dev.registrationId)),
            ...(o.withKeys === false ? [] : [el('keys', {}, [el('type', {}, Buffer.from([5])), el('identity', {}, dev.identity.public),
              el('key', {}, [el('id', {}, encodeBigEndian(pre.id, 3)), el('value', {}, pre.public)]),
              el('skey', {}, [el('id', {}, encodeBigEndian(dev.signedPreKey.keyId, 3)), el('value', {}, dev.signedPreKey.keyPair.public), el('signature', {}, dev.signedPreKey.signature)])])])]))
        }
        return {}
      }
      case 'create-group': {
        const id = (o.id || '1203630' + randomBytes(4).readUInt32BE()) + '@g.us'
        const g = { id, subject: o.subject || 'Mock group', members: [...new Set([...(o.members || []).map(digits), acc().pn])], addressing: o.addressing || 'lid', creation: nowSec() }
        for (const m of g.members) this.person(m)
        this.groups.set(id, g)
        if (o.announce !== false) for (const c of acc().companions.values()) this.send(c.conn, el('notification', { from: id, type: 'w:gp2', id: newId(), t: nowSec(), participant: lidJid(this.person(g.members[0]).lid), notify: 'x' }, [el('create', { type: 'new', key: 'x', reason: 'invite' }, [this.#groupNode(g)])]))
        return g
      }
      case 'group-change': {
        const g = this.groups.get(o.group), a = acc(), who = x => (g.addressing === 'lid' ? lidJid(this.person(x).lid) : pnJid(digits(x)))
        if (o.add) g.members.push(...o.add.map(digits))
        if (o.remove) g.members = g.members.filter(m => !o.remove.map(digits).includes(m))
        if (o.subject) g.subject = o.subject
        const body = o.add ? el('add', {}, o.add.map(x => el('participant', { jid: who(x) }))) : o.remove ? el('remove', {}, o.remove.map(x => el('participant', { jid: who(x) }))) : el('subject', { subject: g.subject, s_t: nowSec(), s_o: who(g.members[0]) })
        for (const c of a.companions.values()) this.send(c.conn, el('notification', { from: g.id, type: 'w:gp2', id: newId(), t: nowSec(), participant: who(g.members[0]) }, [body]))
        return g
      }
      case 'list-received': return this.received.filter(r => r.seq > (o.since || 0) && (!o.to || digits(r.to) === digits(o.to) || r.to === o.to)).map(({ message, ...r }) => (o.full ? { ...r, message: message && proto.Message.toObject(message, { longs: Number, bytes: String }) } : r))
      case 'events': return this.events.filter(e => e.seq > (o.since || 0) && (!o.type || e.type === o.type))
      case 'wait': {
        const match = e => e.seq > (o.since || 0) && Object.entries(o.match).every(([k, v]) => (Array.isArray(e[k]) ? e[k].includes(v) : e[k] === v))
        const hit = this.events.find(match)
        if (hit) return hit
        return new Promise((res, rej) => {
          const on = e => { if (match(e)) { clearTimeout(tm); this.off('event', on); res(e) } }
          const tm = setTimeout(() => { this.off('event', on); rej(new Error('timed out waiting for ' + JSON.stringify(o.match))) }, o.timeoutMs || 15000)
          this.on('event', on)
        })
      }
      case 'drop': {
        let n = 0
        for (const c of [...this.conns]) {
          if (o.account && c.acc?.pn !== digits(o.account)) continue
          n++
          if (o.mode === 'tcp') c.ws.terminate()
          else if (o.mode === 'close') c.ws.close()
          else if (o.mode === 'end') { this.send(c, el('xmlstreamend')); this.#closeSoon(c) }
          else { if (o.code === 401 && c.comp) c.acc.companions.delete(c.comp.id); this.#streamError(c, o.code || 503, o.kind) }
        }
        return { dropped: n }
      }
      case 'listen': if (o.on === false) await this.unlisten(); else await this.listen(); return { url: this.url }
      case 'media-fail': this.media.fail = o.count ?? 1; return {}
      default: throw new Error('unknown op ' + o.op)
    }
  }
}
