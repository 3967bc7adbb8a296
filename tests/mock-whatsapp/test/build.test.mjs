// What the build changes in other people's code.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as bridge from 'whatsapp-rust-bridge'
import { BUNDLE } from './support/sidecar.mjs'
import * as shim from '../../../scripts/whatsapp-sidecar/shims/crypto.mjs'

const SIDECAR = fileURLToPath(new URL('../../../scripts/whatsapp-sidecar/', import.meta.url))
const run = promisify(execFile)

test('the build fails when a text to edit is not there', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'sidecar-build-'))
  t.after(() => rmSync(dir, { recursive: true }))
  for (const name of ['src', 'shims', 'build.mjs', 'edits.mjs', 'package.json']) {
    cpSync(join(SIDECAR, name), join(dir, name), { recursive: true })
  }
  symlinkSync(fileURLToPath(new URL('../node_modules', `file://${BUNDLE}`)), join(dir, 'node_modules'))
  const edits = readFileSync(join(dir, 'edits.mjs'), 'utf8')
  const renamed = edits.replace('await decrypt();', 'await decipher();')
  assert.notEqual(edits, renamed)
  writeFileSync(join(dir, 'edits.mjs'), renamed)
  const failure = await run(process.execPath, ['build.mjs'], { cwd: dir }).catch(error => error)
  assert.equal(failure.code, 1)
  assert.match(failure.stderr, /the text to edit is there 0 times/)
})

test('the shim of the WebAssembly helper computes what the helper computes', () => {
  const same = (a, b) => assert.deepEqual(Buffer.from(a), Buffer.from(b))
  for (let i = 0; i < 20; i++) {
    const [key, salt, data] = [randomBytes(32), randomBytes(32), randomBytes(i * 7)]
    same(shim.md5(data), bridge.md5(data))
    for (const [length, options] of [
      [64, { salt, info: '' }],
      [112, { info: 'WhatsApp Image Keys' }],
      [32, {}]
    ]) {
      same(shim.hkdf(key, length, options), bridge.hkdf(key, length, options))
    }
    const [ours, theirs] = [shim.expandAppStateKeys(key), bridge.expandAppStateKeys(key)]
    for (const name of Object.keys(ours)) same(ours[name], theirs[name])
    const [base, removed, added] = [randomBytes(128), [randomBytes(32)], [randomBytes(32), randomBytes(32)]]
    const sum = tally => new tally.LTHashAntiTampering().subtractThenAdd(base, removed, added)
    same(sum(shim), sum(bridge))
  }
})
