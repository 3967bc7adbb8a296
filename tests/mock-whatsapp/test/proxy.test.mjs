// Behind a proxy nothing goes out any other way: neither the WebSocket nor media.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { httpProxy, socksProxy } from './support/proxies.mjs'
import { ALICE, Harness } from './support/harness.mjs'

// A history that does not fit into its message is fetched as media is.
const harness = await Harness.start({ history: true, historyInline: false })

for (const [kind, start] of [
  ['HTTP', () => httpProxy({ user: 'me', password: 'p@ss' })],
  ['SOCKS5', () => socksProxy()]
]) {
  test(`${kind}: linking, history, text and media both ways`, async t => {
    const proxy = await start()
    t.after(proxy.close)
    const account = harness.account()
    const url = proxy.url.replace('p@ss', 'p%40ss')
    const sidecar = await harness.linked(harness.folder(), { account, hello: { proxy: url } })
    t.after(() => sidecar.kill())
    await harness.wait({ type: 'media-download', found: true })
    const sent = await harness.op('send-media', { account, from: ALICE, size: 50_000 })
    const { media } = await sidecar.event({ ev: 'msg', id: sent.id })
    assert.equal((await sidecar.do('fetch', { ref: media.ref })).sha256, sent.sha256)
    const path = join(harness.dir, `through-${kind}.png`)
    writeFileSync(path, randomBytes(20_000))
    await sidecar.do('send', { id: `3EB0${kind}`, to: `+${ALICE}`, media: { path, kind: 'image' } })
    await sidecar.event({ ev: 'out', id: `3EB0${kind}`, stage: 'accepted' })
    const asked = to => proxy.asked.filter(one => one === to).length
    const downloads = await harness.op('events', { type: 'media-download' })
    const uploads = await harness.op('events', { type: 'media-upload' })
    // The socket twice, since linking restarts it; history, one download, one upload.
    assert.deepEqual([asked(`127.0.0.1:${harness.wa.port}`), asked(harness.wa.media.host)], [2, 3])
    assert.ok(downloads.length && uploads.length)
  })
}

test('a proxy that refuses is no logout, and its password is in no message', async t => {
  const proxy = await httpProxy({ user: 'me', password: 'right' })
  t.after(proxy.close)
  const folder = harness.folder()
  const account = harness.account()
  await (await harness.linked(folder, { account })).end()
  const hello = { proxy: proxy.url.replace('right', 'secret-word') }
  const sidecar = await harness.sidecar(folder, { hello })
  t.after(() => sidecar.kill())
  await sidecar.do('connect')
  const closed = await sidecar.event({ ev: 'state', state: 'closed' })
  assert.equal(closed.action, 'retry')
  assert.ok(!(JSON.stringify(sidecar.events) + sidecar.stderr).includes('secret-word'))
})
