// Every way a connection can end, and what follows. Timers of a second and more run twenty times faster here.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ALICE, Harness } from './support/harness.mjs'

const FAST = { MOCK_WA_FAST: '20' }
const harness = await Harness.start()

const linked = t => harness.linkedAlone(t, { env: FAST })

const closed = sidecar => sidecar.event({ ev: 'state', state: 'closed' })
const ready = sidecar => sidecar.event({ ev: 'state', state: 'ready' })
const summary = ({ code, reason, action }) => [code, reason, action]

/** Each delay is twice the one before, less its random part. On a busy machine linking itself may have had one. */
function assertDoubled({ events }) {
  const delays = events.filter(({ action }) => action === 'retry').map(({ retryMs }) => retryMs)
  for (const [at, delay] of delays.entries()) {
    const most = 1_000 * 2 ** at
    assert.ok(delay <= most && delay >= 0.75 * most - 1, `${delays}`)
  }
}

for (const [code, reason] of [
  [500, 'server-error'],
  [503, 'unavailable'],
  [428, 'connection-closed'],
  [408, 'timed-out']
]) {
  test(`${code}: tries again after a while`, async t => {
    const sidecar = await linked(t)
    await harness.op('drop', { account: sidecar.account, code })
    const close = await closed(sidecar)
    assert.deepEqual(summary(close), [code, reason, 'retry'])
    assertDoubled(sidecar)
    await ready(sidecar)
  })
}

test('515: comes back at once', async t => {
  const sidecar = await linked(t)
  await harness.op('drop', { account: sidecar.account, code: 515 })
  const close = await closed(sidecar)
  assert.deepEqual([...summary(close), close.retryMs], [515, 'restart-required', 'restart', 0])
  await ready(sidecar)
})

test('401: the login is gone, and forgotten; messages are not', async t => {
  const sidecar = await linked(t)
  sidecar.autoAck = false
  const sent = await harness.op('send-text', { account: sidecar.account, from: ALICE, text: 'before the end' })
  await sidecar.event({ ev: 'msg', id: sent.id })
  await harness.op('drop', { account: sidecar.account, code: 401 })
  assert.deepEqual(summary(await closed(sidecar)), [401, 'logged-out', 'relink'])
  assert.equal((await sidecar.ask('connect')).code, 'unlinked')
  await sidecar.end()
  const again = await harness.sidecar(sidecar.folder, { env: FAST })
  assert.deepEqual([again.hello.linked, again.hello.waiting], [false, 1])
  assert.equal((await again.event({ ev: 'msg' })).text, 'before the end')
  await again.do('link', { mode: 'qr' })
  const { data } = await again.event({ ev: 'qr' })
  await harness.op('scan-qr', { qr: data, account: sidecar.account })
  await ready(again)
})

for (const [code, reason] of [
  [403, 'forbidden'],
  [411, 'multi-device-mismatch'],
  [440, 'replaced']
]) {
  test(`${code}: stops and keeps the login`, async t => {
    const sidecar = await linked(t)
    await harness.op('drop', { account: sidecar.account, code })
    const close = await closed(sidecar)
    assert.deepEqual([...summary(close), close.retryMs], [code, reason, 'stop', undefined])
    await sidecar.mark().do('connect')
    await ready(sidecar)
  })
}

test('405: waits long, and says that it is outdated', async t => {
  const sidecar = await linked(t)
  await sidecar.do('disconnect')
  await harness.op('set', { knobs: { failLogin: 405 } })
  await sidecar.mark().do('connect')
  const close = await closed(sidecar)
  assert.deepEqual(summary(close), [405, 'outdated', 'retry'])
  assert.ok(close.retryMs >= 225_000, `${close.retryMs} ms`)
})

test('500 again and again after the login is called a bad session; the login stays', async t => {
  const sidecar = await linked(t)
  await sidecar.do('disconnect')
  sidecar.mark()
  for (let i = 0; i < 5; i++) {
    await harness.op('set', { knobs: { failLogin: 500 } })
    if (i === 0) await sidecar.do('connect')
    const close = await closed(sidecar)
    if (i === 4) assert.deepEqual(summary(close), [500, 'bad-session', 'retry'])
    else assert.deepEqual(summary(close), [500, 'server-error', 'retry'])
    sidecar.mark()
  }
  await sidecar.end()
  assert.equal((await harness.sidecar(sidecar.folder)).hello.linked, true)
})

for (const status of [401, 403, 503]) {
  test(`HTTP ${status} instead of a WebSocket: never a logout, never a hang`, async t => {
    const sidecar = await linked(t)
    await harness.op('set', { knobs: { refuse: 2, refuseStatus: status } })
    await harness.op('drop', { account: sidecar.account, mode: 'tcp' })
    const refused = await sidecar.event({ ev: 'state', reason: 'http-refused' })
    assert.deepEqual([refused.code, refused.action], [status, 'retry'])
    await ready(sidecar)
  })
}

for (const mode of ['tcp', 'close', 'end']) {
  test(`a connection that just ends (${mode}) comes back`, async t => {
    const sidecar = await linked(t)
    await harness.op('drop', { account: sidecar.account, mode })
    assert.equal((await closed(sidecar)).action, 'retry')
    await ready(sidecar)
  })
}

test('a server that says nothing is given up', async t => {
  const sidecar = await linked(t)
  await sidecar.do('disconnect')
  await harness.op('set', { knobs: { silent: true } })
  await sidecar.mark().do('connect')
  assert.deepEqual(summary(await closed(sidecar)), [408, 'timed-out', 'retry'])
  await harness.op('set', { knobs: { silent: false } })
  await ready(sidecar)
})

test('a server that never tells the end of the backlog does not keep messages back', async t => {
  const sidecar = await linked(t)
  await sidecar.do('disconnect')
  await harness.op('set', { knobs: { offlineEnd: false } })
  await sidecar.mark().do('connect')
  await sidecar.event({ ev: 'state', state: 'syncing' })
  const sent = await harness.op('send-text', { account: sidecar.account, from: ALICE, text: 'live' })
  await sidecar.event({ ev: 'msg', id: sent.id })
  await ready(sidecar)
  await harness.op('set', { knobs: { offlineEnd: true } })
})

test('while the server is away delays grow; when it is back the sidecar connects', async t => {
  const sidecar = await linked(t)
  await harness.op('listen', { on: false })
  for (let i = 0; i < 4; i++) {
    await closed(sidecar)
    sidecar.mark()
  }
  assertDoubled(sidecar)
  assert.equal(
    (await sidecar.ask('send', { id: '3EB0AB', to: `+${ALICE}`, text: 'x' })).code,
    'not-connected'
  )
  await harness.op('listen', { on: true })
  await ready(sidecar)
})
