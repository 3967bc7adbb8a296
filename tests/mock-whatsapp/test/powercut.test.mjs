// The journal as a power cut may leave it: everything that was durable, and of what was being written any part, in
// any order of its blocks. Made from the journal of a sidecar that has received messages.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Journal } from '../../../scripts/whatsapp-sidecar/src/journal.mjs'
import { ALICE, Harness } from './support/harness.mjs'

const harness = await Harness.start()
const BLOCK = 4096

/** A journal of a login with some traffic, its messages acknowledged as a gateway does. */
async function recorded() {
  const sidecar = await harness.linked(harness.folder())
  for (let i = 0; i < 6; i++) {
    const { id } = await harness.op('send-text', { from: ALICE, text: `message ${i} `.repeat(200) })
    const { seq } = await sidecar.event({ ev: 'msg', id })
    if (i % 2) await sidecar.do('ack', { seq })
  }
  await sidecar.kill()
  return readFileSync(join(sidecar.folder.authDir, 'journal'))
}

/** Where each record begins, and what was durable before it. */
function recordsOf(bytes) {
  const found = []
  for (let from = 0; from < bytes.length; ) {
    const to = bytes.indexOf(10, from) + 1
    found.push({ from, to, durable: JSON.parse(bytes.toString('utf8', from + 17, to)).d })
    from = to
  }
  return found
}

/** What a journal with this content is opened as. */
function opened(dir, bytes) {
  writeFileSync(join(dir, 'journal'), bytes)
  const journal = new Journal(dir)
  const result = journal.open()
  journal.close()
  return result
}

test('a power cut at any write loses nothing that was durable, and guesses nothing', async t => {
  const bytes = await recorded()
  const records = recordsOf(bytes)
  assert.ok(records.length > 12, `${records.length} records`)
  const dir = mkdtempSync(join(tmpdir(), 'powercut-'))
  t.after(() => rmSync(dir, { recursive: true }))
  let states = 0
  for (const [count, { to, durable }] of records.entries()) {
    // The first record came with the file's name.
    if (count === 0) continue
    const kept = records.filter(record => record.to <= durable).length
    const writing = bytes.subarray(durable, to)
    const lost = [0, 1, Math.floor(writing.length / 2), writing.length - 1].map(n => bytes.subarray(0, durable + n))
    for (let block = 0; block < writing.length; block += BLOCK) {
      const hole = Buffer.from(bytes.subarray(0, to))
      hole.fill(0, durable + block, Math.min(durable + block + BLOCK, to))
      lost.push(hole)
    }
    for (const left of lost) {
      const { records: read, damaged } = opened(dir, left)
      assert.equal(damaged, undefined, `cut behind ${durable} of ${bytes.length}`)
      assert.ok(read.length >= kept && read.length <= count + 1, `${read.length} of ${kept} records`)
      states++
    }
  }
  assert.ok(states > 60, `${states} states of the file were tried`)
})

test('a hole in what was durable is damage', async t => {
  const bytes = await recorded()
  const dir = mkdtempSync(join(tmpdir(), 'powercut-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const records = recordsOf(bytes)
  const hole = Buffer.from(bytes)
  const { from } = records.findLast(record => record.to <= records.at(-1).durable)
  hole.fill(0, from, from + 8)
  assert.match(opened(dir, hole).damaged, /^journal\.damaged-/)
})

test('what was not durable yet may have reached the disk in any order', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'powercut-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const journal = new Journal(dir)
  journal.open()
  journal.rewrite([{ v: 1 }])
  journal.append({ kept: true })
  const durable = journal.size
  for (const name of ['a', 'b', 'c']) journal.append({ name: name.repeat(BLOCK) }, { durable: false })
  journal.close()
  const bytes = readFileSync(join(dir, 'journal'))
  bytes.fill(0, durable, durable + BLOCK)
  const { records, cutBytes, damaged } = opened(dir, bytes)
  assert.equal(damaged, undefined)
  assert.deepEqual(records, [{ v: 1 }, { kept: true }])
  assert.equal(cutBytes, bytes.length - durable)
})
