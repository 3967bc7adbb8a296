#!/usr/bin/env node
// What the sidecar costs: start-up time, and memory unlinked, linked, and after messages. Prints JSON lines.
//
//     node bench.mjs [MESSAGES]        (1,000)
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { Harness } from './test/support/harness.mjs'

const MESSAGES = Number(process.argv[2] ?? 1_000)
const CONTACTS = 50
const SETTLE_MS = 3_000
const print = row => process.stdout.write(`${JSON.stringify(row)}\n`)

/** Resident and proportional memory in MB, threads, of a process that has come to rest. */
async function memory(pid) {
  await pause(SETTLE_MS)
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const mb = name => Math.round(Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(rollup)[1]) / 102.4) / 10
  const threads = Number(/^Threads:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1])
  return { rssMb: mb('Rss'), pssMb: mb('Pss'), threads }
}

async function bareNode() {
  const started = performance.now()
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000); console.log(1)'])
  await once(child.stdout, 'data')
  const ms = Math.round(performance.now() - started)
  print({ what: 'bare node', ms, ...(await memory(child.pid)) })
  child.kill('SIGKILL')
}

async function startUp(harness) {
  const took = []
  for (let i = 0; i < 5; i++) {
    const started = performance.now()
    const sidecar = await harness.sidecar(harness.folder(), { bare: true })
    took.push(Math.round(performance.now() - started))
    await sidecar.kill()
  }
  print({ what: 'start to answer of hello', ms: took.sort((a, b) => a - b)[2] })
}

async function reconnect(harness, folder) {
  const started = performance.now()
  const sidecar = await harness.connected(folder)
  print({ what: 'start to ready', ms: Math.round(performance.now() - started) })
  return sidecar
}

async function traffic(harness, sidecar) {
  const started = performance.now()
  let id
  for (let i = 0; i < MESSAGES; i++) {
    const from = String(15551000000 + (i % CONTACTS))
    ;({ id } = await harness.op('send-text', { from, text: `message ${i} ${'x'.repeat(80)}` }))
  }
  await sidecar.event({ ev: 'msg', id }, 300_000)
  return Math.round(MESSAGES / ((performance.now() - started) / 1000))
}

const harness = await new Harness().open({ history: true })
await bareNode()
await startUp(harness)
const folder = harness.folder()
const fresh = await harness.sidecar(folder)
print({ what: 'unlinked', ...(await memory(fresh.child.pid)) })
await fresh.end()
const first = await harness.linked(folder)
print({ what: 'just linked', ...(await memory(first.child.pid)) })
await first.end()
const sidecar = await reconnect(harness, folder)
print({ what: 'linked, idle', ...(await memory(sidecar.child.pid)) })
const rate = await traffic(harness, sidecar)
print({ what: `after ${MESSAGES} messages`, messagesPerSecond: rate, ...(await memory(sidecar.child.pid)) })
await harness.stop()
