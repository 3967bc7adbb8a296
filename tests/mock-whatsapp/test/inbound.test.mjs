// What people write, as the gateway is shown it.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { BODY_MS } from '../../../scripts/whatsapp-sidecar/src/limits.mjs'
import { opener } from '../../../scripts/whatsapp-sidecar/src/media.mjs'
import { ALICE, BOB, OWNER, Harness } from './support/harness.mjs'

const harness = await Harness.start()
const sidecar = await harness.linked()

/** Makes the mock do something; what it answers, and the message that the gateway is shown of it. */
async function shown(op, fields, wanted = {}) {
  sidecar.mark()
  const sent = await harness.op(op, fields)
  return { sent, message: await sidecar.event({ ev: 'msg', id: sent.id, ...wanted }) }
}

test('text by LID and by number comes from one and the same person', async () => {
  const lid = (await shown('send-text', { from: ALICE, text: 'by lid', addressing: 'lid' })).message
  const pn = (await shown('send-text', { from: ALICE, text: 'by number', addressing: 'pn' })).message
  for (const message of [lid, pn]) {
    assert.equal(message.from.pn, `+${ALICE}`)
    assert.match(message.from.lid, /@lid$/)
    assert.equal(message.from.me, false)
    assert.equal(message.from.name, 'Contact 1111')
    assert.equal(message.chat.group, false)
    assert.equal(message.kind, 'text')
    assert.equal(message.offline, false)
  }
  assert.deepEqual([lid.text, pn.text], ['by lid', 'by number'])
  assert.match(lid.chat.jid, /@lid$/)
  assert.match(pn.chat.jid, /@s\.whatsapp\.net$/)
  assert.equal(lid.from.lid, pn.from.lid)
  assert.ok(pn.seq > lid.seq)
  assert.ok(Math.abs(lid.ts - Date.now()) < 60_000)
})

test('in groups a mention of the linked account shows, by LID and by number', async () => {
  const group = await harness.op('create-group', { subject: 'Team', members: [ALICE, BOB] })
  const plain = (await shown('send-text', { from: ALICE, group: group.id, text: 'hello all' })).message
  assert.deepEqual(
    [plain.chat.jid, plain.chat.group, plain.chat.subject, plain.from.pn, plain.mentionsMe],
    [group.id, true, 'Team', `+${ALICE}`, undefined]
  )
  const mention = (await shown('send-text', { from: BOB, group: group.id, text: '@us hi', mention: ['me'] }))
    .message
  assert.deepEqual([mention.mentionsMe, mention.from.pn], [true, `+${BOB}`])
  const byNumber = { from: BOB, group: group.id, text: '@us', mention: [`${OWNER}@s.whatsapp.net`] }
  assert.equal((await shown('send-text', byNumber)).message.mentionsMe, true)
  const other = { from: BOB, group: group.id, text: '@alice', mention: [`${ALICE}@s.whatsapp.net`] }
  assert.equal((await shown('send-text', other)).message.mentionsMe, undefined)
})

test('a quotation names the message that it answers', async () => {
  const quoted = { id: '3EB0FEED', participant: `${OWNER}@s.whatsapp.net`, text: 'what we said' }
  const { message } = await shown('send-text', { from: ALICE, text: 'an answer', quoted })
  assert.equal(message.quote.id, '3EB0FEED')
  assert.equal(message.quote.me, true)
  assert.equal(message.quote.text, 'what we said')
  assert.equal(message.quote.from.pn, `+${OWNER}`)
})

test('a forwarded message says so', async () => {
  const { message } = await shown('send-text', { from: ALICE, text: '/pause', forwarded: true })
  assert.deepEqual([message.text, message.forwarded], ['/pause', true])
})

test('ephemeral and view-once wrappings come off', async () => {
  const ephemeral = (await shown('send-text', { from: ALICE, text: 'soon gone', ephemeral: 86_400 })).message
  assert.deepEqual([ephemeral.text, ephemeral.ephemeralSeconds], ['soon gone', 86_400])
  const once = (await shown('send-media', { from: ALICE, kind: 'image', viewOnce: true, caption: 'look' }))
    .message
  assert.deepEqual([once.kind, once.viewOnce, once.text], ['image', true, 'look'])
  const both = { from: ALICE, kind: 'image', viewOnce: true, ephemeral: 60 }
  assert.equal((await shown('send-media', both)).message.viewOnce, true)
})

test('reactions, edits and revocations name their target', async () => {
  const reaction = (await shown('react', { from: ALICE, target: '3EB0AB', text: '👍' })).message
  assert.deepEqual([reaction.kind, reaction.target, reaction.text], ['reaction', '3EB0AB', '👍'])
  const edit = {
    protocolMessage: { type: 14, key: { id: '3EB0CD' }, editedMessage: { conversation: 'better' } }
  }
  const edited = (await shown('send-raw', { from: ALICE, message: { editedMessage: { message: edit } } }))
    .message
  assert.deepEqual([edited.kind, edited.target, edited.text], ['edit', '3EB0CD', 'better'])
  const revoke = { protocolMessage: { type: 0, key: { id: '3EB0EF' } } }
  const revoked = (await shown('send-raw', { from: ALICE, message: revoke })).message
  assert.deepEqual([revoked.kind, revoked.target], ['revoke', '3EB0EF'])
})

test('places, contacts and polls have a text', async () => {
  const place = { locationMessage: { degreesLatitude: 52.5, degreesLongitude: 13.4, name: 'Here' } }
  assert.equal((await shown('send-raw', { from: ALICE, message: place })).message.text, 'Here\n52.5,13.4')
  const contact = { contactMessage: { displayName: 'Carol', vcard: 'BEGIN:VCARD' } }
  assert.equal((await shown('send-raw', { from: ALICE, message: contact })).message.text, 'Carol')
  const poll = {
    pollCreationMessage: { name: 'Lunch?', options: [{ optionName: 'yes' }, { optionName: 'no' }] }
  }
  const { message } = await shown('send-raw', { from: ALICE, message: poll })
  assert.deepEqual([message.kind, message.text], ['poll', 'Lunch?\n- yes\n- no'])
})

test('what only announces or repeats something is not shown', async () => {
  const hidden = [
    // Comes before the pictures of an album.
    { albumMessage: { expectedImageCount: 2 } },
    { encCommentMessage: { targetMessageKey: { id: '3EB0AB' } } },
    { encEventResponseMessage: {} },
    { secretEncryptedMessage: { targetMessageKey: { id: '3EB0AB' } } },
    // The large copy of a picture that came before it.
    {
      messageContextInfo: { messageAssociation: { associationType: 10, parentMessageKey: { id: '3EB0AB' } } },
      associatedChildMessage: { message: { imageMessage: { caption: 'once more' } } }
    }
  ]
  for (const message of hidden) {
    const { id } = await harness.op('send-raw', { from: ALICE, message })
    const { message: next } = await shown('send-text', { from: ALICE, text: 'behind it' })
    assert.equal(next.text, 'behind it')
    assert.deepEqual(sidecar.all({ ev: 'msg', id }), [], Object.keys(message).join())
  }
})

test('whatever a message claims, its line stays short', async () => {
  const long = '9'.repeat(1_200_000)
  const lies = {
    quote: { extendedTextMessage: { text: 'x', contextInfo: { stanzaId: 'A', participant: `${long}@s.whatsapp.net` } } },
    hash: { imageMessage: { directPath: '/x', mediaKey: 'AAAA', fileSha256: long } }
  }
  for (const [name, message] of Object.entries(lies)) {
    const { id } = await harness.op('send-raw', { from: ALICE, message })
    const line = JSON.stringify(await sidecar.event({ ev: 'msg', id }))
    assert.ok(line.length < 10_000, `${name}: ${line.length}`)
  }
})

test('an answer to an event that names no message of ours harms nothing', async () => {
  for (const key of [undefined, {}, { id: '' }, { remoteJid: `${ALICE}@s.whatsapp.net` }, { id: '3EB0AB' }]) {
    const message = { encEventResponseMessage: { ...(key && { eventCreationMessageKey: key }) } }
    await harness.op('send-raw', { from: ALICE, message })
    const started = Date.now()
    assert.equal((await shown('send-text', { from: ALICE, text: 'go on' })).message.text, 'go on')
    assert.ok(Date.now() - started < BODY_MS, 'nobody waits for a body that nobody was asked for')
  }
  const remoteJid = `${'9'.repeat(1_200_000)}@s.whatsapp.net`
  const message = { encEventResponseMessage: { eventCreationMessageKey: { id: '3EB0AB', remoteJid } } }
  await harness.op('send-raw', { from: ALICE, message })
  assert.equal((await shown('send-text', { from: ALICE, text: 'go on' })).message.text, 'go on')
  assert.equal(sidecar.all({ ev: 'need-body' }).length, 0)
  assert.equal(sidecar.exit, undefined)
})

test('what the owner writes on the phone is marked as our own', async () => {
  const { message } = await shown('phone-sends', { to: ALICE, text: 'from my phone' })
  assert.equal(message.from.me, true)
  assert.equal(message.from.pn, `+${OWNER}`)
  assert.equal(message.chat.pn, `+${ALICE}`)
})

test('the same text to oneself is a chat with oneself', async () => {
  const { message } = await shown('phone-sends', { to: OWNER, text: 'note to self' })
  assert.deepEqual([message.from.me, message.chat.pn], [true, `+${OWNER}`])
})

for (const kind of ['image', 'audio', 'video', 'document', 'sticker']) {
  test(`${kind}: fetched, decrypted and checked`, async () => {
    const { sent, message } = await shown('send-media', {
      from: ALICE,
      kind,
      size: 70_001,
      ptt: kind === 'audio'
    })
    assert.equal(message.media.kind, kind)
    assert.equal(message.media.bytes, 70_001)
    const file = await sidecar.do('fetch', { ref: message.media.ref })
    assert.equal(file.sha256, sent.sha256)
    assert.equal(createHash('sha256').update(readFileSync(file.path)).digest('hex'), sent.sha256)
    assert.equal(statSync(file.path).mode & 0o777, 0o600)
    assert.ok(file.path.startsWith(sidecar.folder.mediaDir))
  })
}

test('media that is too large, gone, damaged or not ours is refused', async () => {
  const { message } = await shown('send-media', { from: ALICE, size: 5_000 })
  assert.equal((await sidecar.ask('fetch', { ref: message.media.ref, max: 4_999 })).code, 'too-large')
  assert.equal((await sidecar.ask('fetch', { ref: 'bm9wZQ' })).code, 'invalid')
  const ref = JSON.parse(Buffer.from(message.media.ref, 'base64url'))
  const altered = more => Buffer.from(JSON.stringify({ ...ref, ...more })).toString('base64url')
  assert.equal((await sidecar.ask('fetch', { ref: altered({ host: 'example.org' }) })).code, 'invalid')
  const other = Buffer.alloc(32, 7).toString('base64')
  assert.equal((await sidecar.ask('fetch', { ref: altered({ sha256: other }) })).code, 'media-damaged')
  assert.equal((await sidecar.ask('fetch', { ref: altered({ mediaKey: other }) })).code, 'media-damaged')
  // A sender may lie about the length.
  assert.equal((await sidecar.ask('fetch', { ref: altered({ bytes: 1 }), max: 100 })).code, 'too-large')
  await harness.op('media-fail', { count: 1 })
  const failed = await sidecar.ask('fetch', { ref: message.media.ref })
  assert.deepEqual([failed.code, failed.retry], ['media-failed', true])
  assert.equal((await sidecar.do('fetch', { ref: message.media.ref })).bytes, 5_000)
})

test('a document keeps the ending of its name, if that is one', async () => {
  for (const [fileName, ending] of [
    ['table.csv', '.csv'],
    ['odd.../../x', '.bin']
  ]) {
    const media = { from: ALICE, kind: 'document', size: 100, mimetype: 'text/csv', fileName }
    const { message } = await shown('send-media', media)
    const { path, sha256 } = await sidecar.do('fetch', { ref: message.media.ref })
    assert.equal(path, join(sidecar.folder.mediaDir, sha256 + ending))
  }
})

test('a path that leads to another host is not followed', async () => {
  const asked = []
  const agent = {
    addRequest(request, { host }) {
      asked.push(host)
      queueMicrotask(() => request.emit('error', new Error('no network')))
    }
  }
  for (const path of ['/v/t62', '//example.org/v', '/\\example.org/v', '.example.org/v', '@example.org/v']) {
    await assert.rejects(opener(agent)(`https://mmg.whatsapp.net${path}`))
  }
  assert.deepEqual([...new Set(asked)], ['mmg.whatsapp.net'])
})

test('a redirect leads to no other host, and to no other scheme or port', async () => {
  const asked = []
  let location
  const agent = {
    defaultPort: 443,
    addRequest(request, { host, port }) {
      asked.push(`${host}:${port}`)
      const response = Object.assign(Readable.from([]), { statusCode: 302, headers: { location } })
      queueMicrotask(() => request.emit('response', response))
    }
  }
  const places = [
    'https://127.0.0.1/v',
    'https://2130706433/v',
    'https://[::ffff:7f00:1]/v',
    'https://localhost/v',
    'https://example.org/v',
    'https://whatsapp.net.example.org/v',
    'https://notwhatsapp.net/v',
    'https://mmg.whatsapp.net@127.0.0.1/v',
    '//127.0.0.1/v',
    'https://mmg.whatsapp.net:18789/v',
    'http://mmg.whatsapp.net/v',
    'file:///etc/passwd'
  ]
  for (location of places) {
    await assert.rejects(opener(agent)('https://mmg.whatsapp.net/v'), undefined, location)
  }
  assert.deepEqual(asked, places.map(() => 'mmg.whatsapp.net:443'))
})

test('a file that the server has deleted comes from the phone, if that still has it', async () => {
  const { sent, message } = await shown('send-media', { from: ALICE, size: 3_000, gone: true })
  assert.equal((await sidecar.do('fetch', { ref: message.media.ref })).sha256, sent.sha256)
  const lost = (await shown('send-media', { from: ALICE, size: 3_000, lost: true })).message
  const answer = await sidecar.ask('fetch', { ref: lost.media.ref })
  assert.deepEqual([answer.code, answer.retry], ['gone', false])
})

test('a message that arrives garbled is asked for again, and shown once', async () => {
  const { sent } = await shown('send-text', { from: ALICE, text: 'at the second try', garbleTimes: 1 })
  const { text } = await sidecar.event({ ev: 'msg', id: sent.id })
  assert.equal(text, 'at the second try')
  assert.equal(sidecar.all({ ev: 'msg', id: sent.id }).length, 1)
})

test('a contact with a new phone is understood', async () => {
  await harness.op('reinstall', { pn: ALICE })
  assert.equal((await shown('send-text', { from: ALICE, text: 'new phone' })).message.text, 'new phone')
})

test('receipts go out, and that a message was read when the gateway asks for it', async () => {
  const { message } = await shown('send-text', { from: BOB, text: 'read me' })
  const since = harness.now
  await sidecar.do('read', { keys: [{ chat: message.chat.jid, id: message.id, from: message.from.jid }] })
  const receipt = await harness.wait({ type: 'receipt', kind: 'read' }, since)
  assert.deepEqual(receipt.ids, [message.id])
})
