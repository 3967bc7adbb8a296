// Linking, by every way there is, and what stops it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OWNER, Harness } from './support/harness.mjs'

const harness = await Harness.start()

test('a QR code links, through the restart that the server asks for', async () => {
  const sidecar = await harness.sidecar(harness.folder())
  assert.equal(sidecar.hello.linked, false)
  assert.equal(sidecar.hello.proto, 1)
  await sidecar.event({ ev: 'state', state: 'unlinked' })
  await sidecar.do('link', { mode: 'qr' })
  const qr = await sidecar.event({ ev: 'qr' })
  assert.match(qr.data, /^https:\/\/wa\.me\/settings\/linked_devices#/)
  assert.deepEqual([qr.ttlMs, qr.count], [60_000, 1])
  await harness.op('scan-qr', { qr: qr.data, account: OWNER })
  const closed = await sidecar.event({ ev: 'state', state: 'closed' })
  assert.deepEqual([closed.code, closed.action, closed.retryMs], [515, 'restart', 0])
  const ready = await sidecar.event({ ev: 'state', state: 'ready' })
  assert.equal(ready.me.pn, `+${OWNER}`)
  assert.match(ready.me.lid, /@lid$/)
})

test('a code typed on the phone links', async () => {
  const sidecar = await harness.sidecar(harness.folder())
  const { code, ttlMs } = await sidecar.do('link', { mode: 'code', phone: `+${OWNER}` })
  assert.match(code, /^[A-Z0-9]{8}$/)
  assert.equal(ttlMs, 160_000)
  assert.deepEqual(sidecar.all({ ev: 'qr' }), [])
  await harness.op('enter-code', { account: OWNER, code })
  await sidecar.event({ ev: 'state', state: 'ready' })
})

test('codes that run out end the attempt, and another one may follow', async () => {
  const sidecar = await harness.sidecar(harness.folder())
  await harness.op('set', { knobs: { qrRefs: 0 } })
  await sidecar.do('link', { mode: 'qr' })
  const closed = await sidecar.event({ ev: 'state', state: 'closed' })
  assert.deepEqual([closed.code, closed.reason, closed.action], [408, 'link-expired', 'relink'])
  const { code } = await sidecar.ask('link', { mode: 'code', phone: `+${OWNER}` })
  assert.equal(code, 'link-failed')
  await harness.op('set', { knobs: { qrRefs: 6 } })
  await sidecar.mark().do('link', { mode: 'qr' })
  await sidecar.event({ ev: 'qr' })
})

test('an attempt given up leaves nothing behind', async () => {
  const folder = harness.folder()
  const sidecar = await harness.sidecar(folder)
  await sidecar.do('link', { mode: 'code', phone: `+${OWNER}` })
  await sidecar.mark().do('disconnect')
  await sidecar.event({ ev: 'state', state: 'unlinked' })
  await sidecar.end()
  const again = await harness.sidecar(folder)
  assert.equal(again.hello.linked, false)
  const since = harness.now
  await again.do('link', { mode: 'qr' })
  await again.event({ ev: 'qr' })
  // A login as a device that does not exist would be the trace of the first attempt.
  assert.deepEqual(await harness.op('events', { since, type: 'login-unknown' }), [])
})

test('requests that make no sense now are refused by name', async () => {
  const sidecar = await harness.sidecar(harness.folder())
  const refusal = async (op, fields) => (await sidecar.ask(op, fields)).code
  assert.equal(await refusal('connect'), 'unlinked')
  assert.equal(await refusal('logout'), 'unlinked')
  assert.equal(await refusal('send', { id: '3EB0AA', to: `+${OWNER}`, text: 'x' }), 'not-connected')
  assert.equal(await refusal('link', { mode: 'code', phone: '12' }), 'invalid')
  assert.equal(await refusal('link', { mode: 'sms' }), 'invalid')
  await sidecar.do('link', { mode: 'qr' })
  assert.equal(await refusal('link', { mode: 'qr' }), 'busy')
})

test('a linked device does not link again; logging out forgets the login on both sides', async () => {
  const folder = harness.folder()
  const sidecar = await harness.linked(folder)
  assert.equal((await sidecar.ask('link', { mode: 'qr' })).code, 'linked')
  const since = harness.now
  assert.equal((await sidecar.do('logout')).server, true)
  await harness.wait({ type: 'client-logout' }, since)
  await sidecar.event({ ev: 'state', state: 'unlinked' })
  await sidecar.end()
  assert.equal((await harness.sidecar(folder)).hello.linked, false)
})

test('a login survives a restart', async () => {
  const folder = harness.folder()
  const first = await harness.linked(folder)
  await first.end()
  assert.deepEqual(first.exit, { code: 0, signal: null })
  const second = await harness.connected(folder)
  assert.equal(second.hello.linked, true)
  assert.equal(second.hello.me.pn, `+${OWNER}`)
  assert.deepEqual(second.all({ ev: 'qr' }), [])
})

test('a server that does not hold the pinned key is not spoken to', async () => {
  const sidecar = await harness.sidecar(harness.folder(), { env: { MOCK_WA_ROOT: '00'.repeat(32) } })
  await sidecar.do('link', { mode: 'qr' })
  const closed = await sidecar.event({ ev: 'state', state: 'closed' })
  assert.equal(closed.action, 'relink')
  assert.deepEqual(sidecar.all({ ev: 'qr' }), [])
})
