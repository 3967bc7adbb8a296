// What the gateway sends: how it arrives, and what the gateway is told of its outcome.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ALICE, BOB, OWNER, Harness, newId } from './support/harness.mjs'

const harness = await Harness.start()
const sidecar = await harness.linked()

/** Sends, and waits until it has arrived at the mock. */
async function send(fields) {
  const id = newId()
  sidecar.mark()
  const answer = await sidecar.do('send', { id, ...fields })
  await harness.wait({ type: 'message', id })
  const [received] = (await harness.op('list-received', { full: true })).filter(message => message.id === id)
  return { id, answer, received }
}

test('text to a number goes to its LID, under the id that the gateway chose', async () => {
  const { id, answer, received } = await send({ to: `+${ALICE}`, text: 'hello Alice' })
  assert.deepEqual([answer.id, answer.jid], [id, received.to])
  assert.match(received.to, /@lid$/)
  assert.equal(received.text, 'hello Alice')
  assert.ok(Buffer.from(answer.proto, 'base64').includes('hello Alice'))
})

test('a reply goes to the address that the message came from', async () => {
  const sent = await harness.op('send-text', { from: BOB, text: 'ping', addressing: 'pn' })
  const { chat } = await sidecar.event({ ev: 'msg', id: sent.id })
  const { received } = await send({ to: chat.jid, text: 'pong' })
  assert.deepEqual([received.to, received.text], [`${BOB}@s.whatsapp.net`, 'pong'])
})

test('accepted, delivered and read are shown, in that order', async () => {
  await harness.op('set', { knobs: { read: true } })
  const { id } = await send({ to: `+${ALICE}`, text: 'watch me' })
  await sidecar.event({ ev: 'out', id, stage: 'read' })
  assert.deepEqual(
    sidecar.all({ ev: 'out', id }).map(event => event.stage),
    ['accepted', 'delivered', 'read']
  )
  await harness.op('set', { knobs: { read: false } })
})

test('without an acknowledgement nothing is called accepted; the same id may be sent again', async () => {
  await harness.op('set', { knobs: { ack: 'none' } })
  const { id } = await send({ to: `+${ALICE}`, text: 'into the void' })
  await sidecar.do('mem')
  assert.deepEqual(sidecar.all({ ev: 'out', id }), [])
  await harness.op('set', { knobs: { ack: 'auto' } })
  await sidecar.do('send', { id, to: `+${ALICE}`, text: 'into the void' })
  await sidecar.event({ ev: 'out', id, stage: 'accepted' })
  const copies = (await harness.op('list-received')).filter(message => message.id === id)
  assert.deepEqual(
    copies.map(message => message.text),
    ['into the void', 'into the void']
  )
})

test('a refusal is shown with its code', async () => {
  await harness.op('set', { knobs: { ack: 'error:463' } })
  const { id } = await send({ to: `+${ALICE}`, text: 'unwanted' })
  assert.equal((await sidecar.event({ ev: 'out', id, stage: 'failed' })).code, 463)
  assert.deepEqual(sidecar.all({ ev: 'out', id, stage: 'accepted' }), [])
  await harness.op('set', { knobs: { ack: 'auto' } })
})

test('groups: everybody can read it, members are asked for once, receipts name the reader', async () => {
  const group = await harness.op('create-group', { subject: 'Team', members: [ALICE, BOB], announce: false })
  const since = harness.now
  const { id, received } = await send({ to: group.id, text: 'to all' })
  assert.equal(received.text, 'to all')
  const readers = received.group.filter(one => one.ok).map(one => one.pn)
  assert.deepEqual(readers.sort(), [ALICE, BOB, OWNER].sort())
  const delivered = await sidecar.event({ ev: 'out', id, stage: 'delivered' })
  assert.match(delivered.participant, /@lid$/)
  await send({ to: group.id, text: 'once more' })
  const { group: view } = await sidecar.do('group', { jid: group.id })
  assert.equal(view.subject, 'Team')
  assert.deepEqual(
    view.participants.map(one => one.pn).sort(),
    [ALICE, BOB, OWNER].map(pn => `+${pn}`).sort()
  )
  assert.equal((await harness.op('events', { since, type: 'group-iq' })).length, 1)
  const before = harness.now
  await harness.op('group-change', { group: group.id, subject: 'Crew' })
  await sidecar.do('group', { jid: group.id }).catch(() => {})
  await send({ to: group.id, text: 'after the change' })
  assert.equal((await sidecar.do('group', { jid: group.id })).group.subject, 'Crew', `since ${before}`)
  await harness.op('group-change', { group: group.id, remove: [BOB] })
  const notice = await harness.op('send-text', { from: ALICE, group: group.id, text: 'he is gone' })
  await sidecar.event({ ev: 'msg', id: notice.id })
  const last = (await send({ to: group.id, text: 'without him' })).received
  const rest = last.group.filter(one => one.ok).map(one => one.pn)
  assert.deepEqual(rest.sort(), [ALICE, OWNER].sort())
})

test('quotations and mentions go along', async () => {
  const lid = (await sidecar.do('resolve', { phones: [`+${ALICE}`] })).people[0].lid
  const { received } = await send({
    to: `+${ALICE}`,
    text: 'as you said',
    quote: { id: '3AFEED', from: lid, text: 'her words' },
    mentions: [lid]
  })
  assert.equal(received.contextInfo.stanzaId, '3AFEED')
  assert.equal(received.contextInfo.participant, lid)
  assert.equal(received.contextInfo.quotedMessage.conversation, 'her words')
  assert.deepEqual(received.contextInfo.mentionedJid, [lid])
})

for (const kind of ['image', 'document', 'audio', 'video']) {
  test(`${kind} goes out whole`, async () => {
    const path = join(harness.dir, `out.${kind}`)
    writeFileSync(path, randomBytes(90_000))
    const media = {
      path,
      kind,
      mime: kind === 'image' ? 'image/png' : undefined,
      name: 'report.bin',
      caption: 'see'
    }
    const { received } = await send({ to: `+${ALICE}`, media })
    assert.deepEqual([received.kind, received.media.size, received.media.ok], [kind, 90_000, true])
    if (kind === 'document') assert.equal(received.fileName, 'report.bin')
    if (kind === 'image') assert.deepEqual([received.mimetype, received.text], ['image/png', 'see'])
    const left = readdirSync(join(sidecar.folder.mediaDir, '.unfinished'))
    assert.deepEqual(left, [])
  })
}

test('media that cannot be uploaded is a failure that may pass', async () => {
  const path = join(harness.dir, 'late.png')
  writeFileSync(path, randomBytes(1_000))
  await harness.op('media-fail', { count: 2 })
  const request = { id: newId(), to: `+${ALICE}`, media: { path, kind: 'image', mime: 'image/png' } }
  const answer = await sidecar.ask('send', request)
  assert.deepEqual([answer.ok, answer.retry], [false, true])
  await harness.op('media-fail', { count: 0 })
  assert.equal((await sidecar.do('send', request)).id, request.id)
})

test('a contact who could not read a message gets it again, also after a restart', async () => {
  const { id, answer, received } = await send({ to: `+${BOB}`, text: 'once more' })
  const since = harness.now
  await harness.op('ask-retry', { from: BOB, id, to: received.to })
  const again = await harness.wait({ type: 'message', id }, since)
  assert.deepEqual([again.ok, again.text], [true, 'once more'])
  const folder = sidecar.folder
  const other = await harness.linked(harness.folder(), { account: '15550008888' })
  const [first, second] = [newId(), newId()]
  const { proto, jid } = await other.do('send', { id: first, to: `+${BOB}`, text: 'remember' })
  const secret = await other.do('send', { id: second, to: `+${BOB}`, text: 'for Bob' })
  await other.event({ ev: 'out', id: second, stage: 'accepted' })
  await other.end()
  const revived = await harness.connected(other.folder)
  const before = harness.now
  await harness.op('ask-retry', { account: '15550008888', from: BOB, id: first })
  const need = await revived.event({ ev: 'need-body', id: first })
  assert.match(need.chat, /@lid$/)
  await revived.do('sent-body', { id: first, to: jid, proto })
  assert.equal((await harness.wait({ type: 'message', id: first }, before)).text, 'remember')
  assert.ok(answer.proto && folder)
  // Another contact that has seen its id does not get it; the other address of the same chat does.
  await harness.op('ask-retry', { account: '15550008888', from: ALICE, id: second })
  const { chat } = await revived.event({ ev: 'need-body', id: second })
  assert.notEqual(chat, jid)
  await revived.do('sent-body', { id: second, to: secret.jid, proto: secret.proto })
  revived.mark()
  await harness.op('ask-retry', { account: '15550008888', from: BOB, id: second })
  await revived.event({ ev: 'need-body', id: second })
  await revived.do('sent-body', { id: second, to: `${BOB}@s.whatsapp.net`, proto: secret.proto })
  await harness.wait({ type: 'message', id: second }, before)
  const resent = (await harness.op('events', { type: 'message' })).filter(event => event.id === second)
  assert.deepEqual(
    resent.map(event => event.to),
    [jid, jid]
  )
})

test('typing shows, and stops', async () => {
  const { people } = await sidecar.do('resolve', { phones: [`+${ALICE}`] })
  const since = harness.now
  await sidecar.do('typing', { to: people[0].lid, state: 'composing' })
  await harness.wait({ type: 'chatstate', state: 'composing' }, since)
  await sidecar.do('typing', { to: people[0].lid, state: 'paused' })
  await harness.wait({ type: 'chatstate', state: 'paused' }, since)
})

test('numbers that are not on WhatsApp are known before anything is sent', async () => {
  await harness.op('contact', { pn: '15550007777', exists: false })
  const { people } = await sidecar.do('resolve', { phones: [`+${ALICE}`, '+15550007777'] })
  assert.deepEqual(
    people.map(one => [one.phone, one.exists]),
    [
      [`+${ALICE}`, true],
      ['+15550007777', false]
    ]
  )
  const answer = await sidecar.ask('send', { id: newId(), to: '+15550007777', text: 'anybody?' })
  assert.deepEqual([answer.code, answer.retry], ['not-on-whatsapp', false])
})

test('what cannot be sent is refused by name', async () => {
  const refusal = async fields =>
    (await sidecar.ask('send', { id: newId(), to: `+${ALICE}`, ...fields })).code
  assert.equal(await refusal({}), 'invalid')
  assert.equal(await refusal({ text: 'x', id: 'no good' }), 'invalid')
  assert.equal(await refusal({ text: 'x', to: 'alice' }), 'invalid')
  assert.equal(await refusal({ text: 'x'.repeat(65_537) }), 'invalid')
  assert.equal(await refusal({ media: { kind: 'image', path: 'relative.png' } }), 'invalid')
  assert.equal(await refusal({ media: { kind: 'hologram', path: '/x' } }), 'invalid')
})

test('a contact whose signed key is forged is not written to', async () => {
  const carol = '15550003333'
  await harness.op('forge-key', { pn: carol })
  const answer = await sidecar.ask('send', { id: newId(), to: `+${carol}`, text: 'secret' })
  assert.equal(answer.ok, false)
  assert.ok(!(await harness.op('list-received')).some(message => message.text === 'secret'))
})

test('both writing at once, again and again: nobody has to ask for anything twice', async () => {
  const since = harness.now
  const [sent, said] = [[], []]
  sidecar.mark()
  const write = async () => {
    for (let i = 0; i < 60; i++) {
      const id = newId()
      sent.push(id)
      await sidecar.do('send', { id, to: `+${BOB}`, text: `we ${i}` })
    }
  }
  const listen = async () => {
    for (let i = 0; i < 60; i++) {
      const { id } = await harness.op('send-text', { from: BOB, text: `they ${i}` })
      said.push(id)
      // A little apart, or all of one side is through before the other one begins.
      if (i % 3 === 0) await sidecar.do('mem')
    }
  }
  await Promise.all([write(), listen()])
  await Promise.all(said.map(id => sidecar.event({ ev: 'msg', id })))
  const receipts = await harness.op('events', { since, type: 'receipt' })
  assert.deepEqual(
    receipts.filter(receipt => receipt.kind === 'retry'),
    []
  )
  const received = new Map((await harness.op('list-received')).map(message => [message.id, message.text]))
  assert.deepEqual(
    sent.map(id => received.get(id)),
    sent.map((_, i) => `we ${i}`)
  )
})
