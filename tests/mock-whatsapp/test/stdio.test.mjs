// The protocol on stdin and stdout, whatever comes in.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkRequest } from './support/schemas.mjs'
import { ALICE, Harness } from './support/harness.mjs'

const harness = await Harness.start()

/** From now on no file of the process can grow: what a full disk looks like to it. */
const fillDisk = pid => execFileSync('prlimit', ['--pid', String(pid), '--fsize=1000:1000'])

test('nonsense on stdin is answered by an error, and the next request by its answer', async () => {
  const sidecar = harness.spawn()
  const say = text => sidecar.child.stdin.write(text)
  const lines = [
    'garbage\n',
    '{"n":1\n',
    '[]\n',
    'null\n',
    '\n',
    '"x"\n',
    '{"op":"mem"}\n',
    '{"n":"1","op":"mem"}\n'
  ]
  for (const line of lines) say(line)
  say(Buffer.from([0xff, 0xfe, 0x00, 10]))
  for (const op of ['nothing', 'constructor', '__proto__', 7]) say(`${JSON.stringify({ n: 900, op })}\n`)
  say(`${JSON.stringify({ n: 901, op: 'mem' })}\n`)
  const last = await sidecar.event({ re: 901 })
  assert.deepEqual([last.ok, last.code, last.retry], [false, 'no-hello', false])
  const answers = sidecar.events.filter(event => 're' in event)
  // The empty line is none.
  assert.equal(answers.filter(answer => answer.re === null).length, 8)
  assert.equal(answers.filter(answer => answer.re === 900).length, 4)
  assert.ok(answers.every(answer => !answer.ok && answer.error))
  assert.ok((await sidecar.ask('hello', { proto: 2, ...harness.folder() })).code === 'protocol')
  assert.ok((await sidecar.ask('hello', { proto: 1, authDir: 'here', mediaDir: '/x' })).code === 'invalid')
  assert.ok(
    (await sidecar.ask('hello', { proto: 1, ...harness.folder(), proxy: 'gopher://x' })).code === 'invalid'
  )
  assert.ok((await sidecar.ask('hello', { proto: 1, ...harness.folder() })).ok)
  assert.ok((await sidecar.ask('hello', { proto: 1, ...harness.folder() })).code === 'invalid')
})

test('a `hello` that failed leaves nothing behind, and may be said again', async () => {
  const sidecar = harness.spawn()
  const folder = harness.folder()
  const file = join(harness.dir, 'no-folder')
  writeFileSync(file, '')
  const refused = await sidecar.ask('hello', { proto: 1, ...folder, mediaDir: join(file, 'media') })
  assert.deepEqual([refused.ok, refused.code], [false, 'failed'])
  assert.equal((await sidecar.ask('mem')).code, 'no-hello')
  assert.deepEqual(readdirSync(folder.authDir), [])
  await sidecar.do('hello', { proto: 1, ...folder })
})

test('a line that is too long is skipped, in pieces or whole', async () => {
  const sidecar = await harness.sidecar(harness.folder())
  sidecar.child.stdin.write(`{"n":1,"op":"${'x'.repeat(2 << 20)}"}\n`)
  const refused = await sidecar.event({ re: null })
  assert.deepEqual([refused.ok, refused.code], [false, 'invalid'])
  assert.ok((await sidecar.do('mem')).rss > 0)
})

test('the sidecar ends with its stdin, with `shutdown`, and with SIGTERM', async () => {
  for (const end of [
    sidecar => sidecar.child.stdin.end(),
    sidecar => sidecar.post('shutdown'),
    sidecar => sidecar.child.kill('SIGTERM')
  ]) {
    const folder = harness.folder()
    const sidecar = await harness.sidecar(folder)
    end(sidecar)
    assert.deepEqual(await sidecar.exited, { code: 0, signal: null })
    assert.deepEqual(readdirSync(folder.authDir), [])
  }
})

test('the sidecar ends with its stdin in the middle of work', async () => {
  const folder = harness.folder()
  const sidecar = await harness.linked(folder)
  for (let i = 0; i < 20; i++) await harness.op('send-text', { from: ALICE, text: `${i}` })
  for (let i = 0; i < 20; i++) sidecar.post('send', { id: `3EB0A${i}`, to: `+${ALICE}`, text: 'x' })
  const started = performance.now()
  assert.deepEqual(await sidecar.end(), { code: 0, signal: null })
  assert.ok(performance.now() - started < 3_000)
  const again = await harness.sidecar(folder)
  assert.deepEqual([again.hello.linked, again.hello.cutBytes], [true, undefined])
})

test('a gateway that does not read is not flooded, and gets everything once it reads', async () => {
  const sidecar = await harness.linked(undefined, { autoAck: false, account: '15550030001' })
  sidecar.child.stdout.pause()
  const text = 'y'.repeat(60_000)
  const sent = []
  for (let i = 0; i < 60; i++) {
    sent.push((await harness.op('send-text', { account: '15550030001', from: ALICE, text })).id)
  }
  // All of it has reached the journal when the last receipt is out.
  await harness.wait({ type: 'receipt', ids: sent.at(-1) })
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${sidecar.child.pid}/status`, 'utf8'))[1])
  assert.ok(rss < 130_000, `${rss} kB`)
  sidecar.child.stdout.resume()
  await sidecar.event({ ev: 'msg', id: sent.at(-1) })
  assert.deepEqual(
    sidecar.all({ ev: 'msg' }).map(message => message.id),
    sent
  )
})

test('nothing but the protocol is on stdout, and no key is anywhere, however sessions come and go', async () => {
  const folder = harness.folder()
  const sidecar = await harness.linked(folder, { account: '15550030002' })
  // Each of these closes a session, which libsignal used to print.
  for (let i = 0; i < 5; i++) {
    await harness.op('reinstall', { pn: ALICE })
    const { id } = await harness.op('send-text', {
      account: '15550030002',
      from: ALICE,
      text: `new phone ${i}`
    })
    await sidecar.event({ ev: 'msg', id })
    await sidecar.do('send', { id: `3EB0B${i}`, to: `+${ALICE}`, text: 'hello again' })
    await harness.op('ask-retry', { account: '15550030002', from: ALICE, id: `3EB0B${i}` })
  }
  await sidecar.end()
  assert.deepEqual(sidecar.all({ ev: 'garbage' }), [])
  assert.match(sidecar.stderr, /Closing (open )?session/)
  const journal = readFileSync(`${folder.authDir}/journal`, 'utf8')
  const secrets = [...journal.matchAll(/"private":\{"type":"Buffer","data":"([^"]+)"/g)].map(
    match => match[1]
  )
  assert.ok(secrets.length > 800)
  const said = sidecar.stderr + JSON.stringify(sidecar.events)
  for (const secret of secrets) assert.ok(!said.includes(secret))
  assert.doesNotMatch(said, /privKey|chainKey|rootKey/)
})

test('an unforeseen error ends the sidecar, with a last line', async () => {
  const folder = harness.folder()
  const sidecar = await harness.linked(folder, { account: '15550030003' })
  const since = harness.now
  await harness.op('reinstall', { pn: ALICE })
  fillDisk(sidecar.child.pid)
  const { id } = await harness.op('send-text', { account: '15550030003', from: ALICE, text: 'no room' })
  const { text } = await sidecar.event({ ev: 'fatal' })
  assert.match(text, /journal cannot be written/)
  assert.equal((await sidecar.exited).code, 70)
  // Not one word to the server that it has arrived: it comes again.
  const receipts = await harness.op('events', { since, type: 'receipt' })
  assert.ok(!receipts.some(receipt => receipt.ids.includes(id)))
  const again = await harness.connected(folder)
  assert.equal((await again.event({ ev: 'msg', id })).text, 'no room')
})

test('the schema takes what a gateway sends, and refuses what it must not send', () => {
  const folder = { authDir: '/a', mediaDir: '/m' }
  const good = [
    { n: 1, op: 'hello', proto: 1, ...folder },
    { n: 2, op: 'connect' },
    { n: 3, op: 'send', id: '3EB0AA', to: '+15550001111', text: 'x', quote: { id: '1' } },
    { n: 4, op: 'send', id: '3EB0AA', to: '1@lid', media: { path: '/x', kind: 'image' } },
    { n: 5, op: 'read', keys: [{ chat: '1@lid', id: '2' }] },
    { n: 6, op: 'ack', seq: 7 },
    { n: 7, op: 'sent-body', id: '1', proto: null }
  ]
  for (const request of good) checkRequest(request)
  const bad = [
    { op: 'connect' },
    { n: 1, op: 'dance' },
    { n: 1, op: 'connect', now: true },
    { n: 1, op: 'send', id: '1', to: '2' },
    { n: 1, op: 'hello', proto: 2, ...folder }
  ]
  for (const request of bad) assert.throws(() => checkRequest(request), JSON.stringify(request))
})
