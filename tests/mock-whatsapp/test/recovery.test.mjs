// Restarts, kills and damage: what must survive them, and what must not be guessed.
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { appendFileSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { ALICE, BOB, Harness, newId } from './support/harness.mjs'

const harness = await Harness.start()
/** How often the sidecar is killed under traffic; a soak run asks for more. */
const KILLS = Number(process.env.SIDECAR_KILLS ?? 20)
const journalOf = folder => join(folder.authDir, 'journal')
const damagedIn = folder => readdirSync(folder.authDir).filter(name => name.startsWith('journal.damaged-'))

test('the backlog of an outage comes once, marked as such', async t => {
  const first = await harness.linkedAlone(t)
  const { account, folder } = first
  await first.end()
  const sent = []
  for (let i = 0; i < 20; i++) {
    sent.push((await harness.op('send-text', { account, from: i % 2 ? ALICE : BOB, text: `late ${i}` })).id)
  }
  const second = await harness.connected(folder)
  await second.event({ ev: 'msg', id: sent.at(-1) })
  const shown = second.all({ ev: 'msg' })
  assert.deepEqual(shown.map(message => message.id).sort(), [...sent].sort())
  assert.ok(shown.every(message => message.offline))
  await second.do('mem')
  await second.end()
  const third = await harness.connected(folder)
  await third.do('mem')
  assert.deepEqual(third.all({ ev: 'msg' }), [])
  await third.end()
})

test('a message that was not acknowledged is shown again, with the same number', async t => {
  const first = await harness.linkedAlone(t, { autoAck: false })
  const { account, folder } = first
  for (let i = 0; i < 3; i++) {
    const { id } = await harness.op('send-text', { account, from: ALICE, text: `keep ${i}` })
    await first.event({ ev: 'msg', id })
  }
  const shown = first.all({ ev: 'msg' })
  await first.do('ack', { seq: shown[0].seq })
  await first.kill()
  const second = await harness.sidecar(folder)
  assert.equal(second.hello.waiting, 2)
  await second.event({ ev: 'msg', id: shown[2].id })
  assert.deepEqual(second.all({ ev: 'msg' }), shown.slice(1))
  await second.do('ack', { seq: shown[2].seq })
  await second.do('connect')
  await second.event({ ev: 'state', state: 'ready' })
  const { id } = await harness.op('send-text', { account, from: ALICE, text: 'next' })
  assert.ok((await second.event({ ev: 'msg', id })).seq > shown[2].seq)
  await second.end()
})

test('a message that was acknowledged is not in the file any more when that is tidied, nor after the end', async t => {
  const sidecar = await harness.linkedAlone(t)
  const { account } = sidecar
  const journal = () => readFileSync(journalOf(sidecar.folder), 'utf8')
  const take = async text => {
    const { id } = await harness.op('send-text', { account, from: ALICE, text })
    await sidecar.do('ack', { seq: (await sidecar.event({ ev: 'msg', id })).seq })
    assert.ok(journal().includes(text))
  }
  await take('the first secret')
  await sidecar.do('tidy')
  assert.ok(!journal().includes('the first secret'))
  await take('the second secret')
  await sidecar.end()
  assert.ok(!journal().includes('the second secret'))
  const again = await harness.connected(sidecar.folder)
  t.after(() => again.kill())
  await harness.op('send-text', { account, from: ALICE, text: 'go on' })
  await again.event({ ev: 'msg', text: 'go on' })
})

test('a gateway that does not acknowledge is shown a hundred, and the server is not read any more', async t => {
  const sidecar = await harness.linkedAlone(t, { autoAck: false })
  const { account } = sidecar
  const text = 'z'.repeat(20_000)
  const sent = []
  for (let i = 0; i < 600; i++) {
    sent.push((await harness.op('send-text', { account, from: ALICE, text: `${i} ${text}` })).id)
  }
  await sidecar.event({ ev: 'msg', id: sent[99] })
  // Held at 500; what had been read by then is still taken.
  let waiting = 0
  for (let before = -1; waiting !== before; await pause(500)) {
    before = waiting
    waiting = (await sidecar.do('mem')).waiting
  }
  assert.ok(waiting > 500 && waiting < 560, `${waiting} wait`)
  assert.equal(sidecar.all({ ev: 'msg' }).length, 100)
  sidecar.autoAck = true
  await sidecar.do('ack', { seq: sidecar.all({ ev: 'msg' })[99].seq })
  await sidecar.event({ ev: 'msg', id: sent[599] })
  assert.deepEqual(
    sidecar.all({ ev: 'msg' }).map(message => message.id),
    sent
  )
})

/** A gateway over many lives of the sidecar: acknowledges now and then, and repeats what was not accepted. */
class Gateway {
  seen = new Map()
  outbound = new Map()
  #newest = 0

  /** Plays on one life, until its end. */
  async play(sidecar) {
    sidecar.post('connect')
    let nextRound = Infinity
    this.isReady = false
    for (let done = false; !done;) {
      done = Boolean(sidecar.exit)
      for (const event of sidecar.events.splice(0)) {
        this.#take(sidecar, event)
        if (event.state !== 'ready') continue
        nextRound = 0
        this.isReady = true
      }
      if (performance.now() > nextRound) {
        nextRound = performance.now() + 3_000
        this.#repeat(sidecar)
      }
      if (!done) await pause(20)
    }
  }

  /** Sends what was not accepted, under the same id; not more at once than is answered. */
  #repeat(sidecar) {
    const waiting = [...this.outbound].filter(([, accepted]) => !accepted).slice(0, 100)
    for (const [id] of waiting) sidecar.post('send', { id, to: `+${BOB}`, text: `out ${id}` })
  }

  #take(sidecar, event) {
    assert.ok(
      event.ev !== 'qr' && event.ev !== 'garbage' && event.state !== 'unlinked',
      JSON.stringify(event)
    )
    if (event.ev === 'out' && event.stage === 'accepted') this.outbound.set(event.id, true)
    if (event.ev !== 'msg') return
    const { id, seq } = event
    if (this.seen.has(id)) assert.equal(seq, this.seen.get(id), `${id} changed its number`)
    else assert.ok(seq > this.#newest, `${seq} after ${this.#newest}`)
    this.#newest = Math.max(this.#newest, seq)
    this.seen.set(id, seq)
    if (randomInt(3)) sidecar.post('ack', { seq })
  }
}

test(`killed at ${KILLS} moments under traffic: nothing lost, nothing doubled, the login kept`, async t => {
  const first = await harness.linkedAlone(t)
  const { account, folder } = first
  await first.kill()
  const group = (await harness.op('create-group', { account, members: [ALICE, BOB] })).id
  const gateway = new Gateway()
  const inbound = new Set()
  const live = async until => {
    const sidecar = await harness.sidecar(folder, { autoAck: false })
    assert.equal(sidecar.hello.linked, true)
    const playing = gateway.play(sidecar)
    await until()
    await sidecar.kill()
    await playing
  }
  for (let life = 0; life < KILLS; life++) {
    for (let i = 0; i < 3; i++) gateway.outbound.set(newId(), false)
    await live(async () => {
      // Every other one dies while it connects, the others at work.
      const isLate = life % 2 === 1
      let end = performance.now() + (isLate ? 20_000 : randomInt(50, 900))
      while (performance.now() < end) {
        const place = randomInt(3) ? {} : { group }
        const text = `in ${inbound.size}`
        const sent = await harness.op('send-text', {
          account,
          from: randomInt(2) ? ALICE : BOB,
          ...place,
          text
        })
        inbound.add(sent.id)
        await pause(randomInt(25))
        if (isLate && gateway.isReady) end = Math.min(end, performance.now() + randomInt(400))
      }
    })
  }
  const lost = () => [...inbound].filter(id => !gateway.seen.has(id))
  const unaccepted = () => [...gateway.outbound].filter(([, accepted]) => !accepted)
  await live(async () => {
    // However much there is: as long as it gets less, nothing hangs.
    let open = Infinity
    let deadline = 0
    for (let left = lost().length + unaccepted().length; left; left = lost().length + unaccepted().length) {
      if (left < open) [open, deadline] = [left, performance.now() + 20_000]
      if (performance.now() > deadline) break
      await pause(50)
    }
  })
  assert.deepEqual(lost(), [], `lost of ${inbound.size} inbound messages`)
  assert.deepEqual(unaccepted(), [], 'never accepted')
  const received = (await harness.op('list-received')).filter(message => gateway.outbound.has(message.id))
  const unreadable = received.filter(message => message.text !== `out ${message.id}`)
  assert.deepEqual(unreadable, [], 'the contact could not read these')
  t.diagnostic(`${inbound.size} inbound, ${gateway.outbound.size} outbound in ${received.length} copies`)
})

test('a record that was half written is cut off, and said so', async t => {
  const first = await harness.linkedAlone(t)
  const { folder } = first
  await first.kill()
  const size = statSync(journalOf(folder)).size
  appendFileSync(journalOf(folder), '0123456789abcdef {"keys":{"session"')
  const second = await harness.connected(folder)
  assert.equal(second.hello.cutBytes, 35)
  assert.ok(statSync(journalOf(folder)).size >= size)
  await second.kill()
  truncateSync(journalOf(folder), statSync(journalOf(folder)).size - 7)
  const third = await harness.sidecar(folder)
  assert.equal(third.hello.linked, true)
  assert.ok(third.hello.cutBytes > 0)
})

test('a journal damaged in its middle is set aside, and nothing is guessed', async t => {
  const first = await harness.linkedAlone(t)
  const { folder } = first
  await first.kill()
  const bytes = readFileSync(journalOf(folder))
  bytes[Math.floor(bytes.length / 2)] ^= 1
  writeFileSync(journalOf(folder), bytes)
  for (let i = 0; i < 2; i++) {
    const sidecar = await harness.sidecar(folder)
    assert.equal(sidecar.hello.linked, false)
    assert.equal(sidecar.hello.damaged, damagedIn(folder)[0])
    assert.equal((await sidecar.ask('connect')).code, 'damaged')
    await sidecar.end()
  }
  assert.deepEqual(readFileSync(join(folder.authDir, damagedIn(folder)[0])), bytes)
  // Only a person who links again gets past it.
  const again = await harness.linked(folder, { account: first.account })
  await again.end()
  assert.equal((await harness.sidecar(folder)).hello.damaged, undefined)
})

test('an empty or foreign journal is damage, not a new beginning', async () => {
  for (const text of ['', 'hello\n', '\0'.repeat(4096)]) {
    const folder = harness.folder()
    const sidecar = await harness.sidecar(folder)
    await sidecar.end()
    writeFileSync(journalOf(folder), text)
    const again = await harness.sidecar(folder)
    assert.equal(again.hello.damaged, damagedIn(folder)[0], JSON.stringify(text.slice(0, 10)))
    await again.end()
  }
})

test('the journal can be read by its owner only, and is rewritten before it grows too far', async t => {
  const sidecar = await harness.linkedAlone(t)
  const { account, folder } = sidecar
  assert.equal(statSync(folder.authDir).mode & 0o777, 0o700)
  assert.equal(statSync(journalOf(folder)).mode & 0o777, 0o600)
  const text = 'x'.repeat(30_000)
  for (let batch = 0; batch < 10; batch++) {
    let id
    for (let i = 0; i < 10; i++) ({ id } = await harness.op('send-text', { account, from: ALICE, text }))
    await sidecar.event({ ev: 'msg', id })
  }
  const { size } = statSync(journalOf(folder))
  assert.ok(size < 2_500_000, `${size} bytes`)
  await sidecar.kill()
  const again = await harness.connected(folder)
  const next = await harness.op('send-text', { account, from: ALICE, text: 'still there' })
  await again.event({ ev: 'msg', id: next.id })
  await again.end()
})

test('a second sidecar on the same folder is refused; after a kill the folder is free', async t => {
  const first = await harness.linkedAlone(t)
  const { folder } = first
  const second = harness.spawn()
  const answer = await second.ask('hello', { proto: 1, ...folder })
  assert.deepEqual([answer.ok, answer.code, answer.retry], [false, 'locked', true])
  assert.match(answer.error, new RegExp(String(first.child.pid)))
  assert.equal((await second.exited).code, 75)
  await first.kill()
  // The dead one's number may belong to somebody else by now.
  writeFileSync(join(folder.authDir, 'lock'), JSON.stringify({ pid: process.pid, start: '1', bootId: 'x' }))
  const third = await harness.connected(folder)
  await third.end()
  assert.ok(!readdirSync(folder.authDir).includes('lock'))
})
