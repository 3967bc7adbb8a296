// The real sidecar as the gateway runs it: a child process, driven over stdio.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { checkAnswer, checkEvent } from './schemas.mjs'

const ROOT = new URL('../../../../', import.meta.url)
/** The built file that is tested. */
export const BUNDLE =
  process.env.SIDECAR_BUNDLE ?? fileURLToPath(new URL('scripts/whatsapp-sidecar/dist/sidecar.mjs', ROOT))
const PRELOAD = fileURLToPath(new URL('tests/mock-whatsapp/trust-preload.mjs', ROOT))
const FLAGS = [
  '--max-semi-space-size=1',
  '--optimize-for-size',
  '--max-old-space-size=96',
  '--v8-pool-size=0'
]
const DEADLINE_MS = 20_000

const matches = (event, wanted) =>
  Object.entries(wanted).every(([name, value]) =>
    Array.isArray(value) ? value.includes(event[name]) : event[name] === value
  )

/** A running sidecar. Every line of its stdout must be JSON. */
export class Sidecar {
  events = []
  /** Events before this one are of no interest any more. */
  #seen = 0
  #waiting = new Set()
  #answers = new Map()
  #n = 0
  #ops = new Map()
  stderr = ''
  exited

  /** @param {Record<string, string>} env @param {{autoAck?: boolean, bare?: boolean}} options */
  constructor(env, { autoAck = true, bare = false } = {}) {
    const args = [...FLAGS, ...(bare ? [] : ['--import', PRELOAD]), BUNDLE]
    this.child = spawn(process.execPath, args, {
      env: { PATH: process.env.PATH, UV_THREADPOOL_SIZE: '2', ...env }
    })
    this.autoAck = autoAck
    this.child.stderr.on('data', text => (this.stderr += text))
    this.child.stdin.on('error', () => {})
    this.exited = once(this.child, 'close').then(([code, signal]) => {
      this.exit = { code, signal }
      for (const { reject } of this.#answers.values())
        reject(new Error(`the sidecar ended: ${JSON.stringify(this.exit)}`))
      for (const check of this.#waiting) check()
      return this.exit
    })
    createInterface({ input: this.child.stdout }).on('line', line => this.#onLine(line))
  }

  #onLine(line) {
    let message
    try {
      message = JSON.parse(line)
    } catch {
      message = { ev: 'garbage', line }
    }
    if (message.re !== undefined) checkAnswer(this.#ops.get(message.re), message)
    else if (message.ev !== 'garbage') checkEvent(message)
    if (message.re !== undefined && this.#answers.has(message.re)) {
      this.#answers.get(message.re).resolve(message)
      this.#answers.delete(message.re)
      return
    }
    this.events.push(message)
    if (message.ev === 'msg' && this.autoAck) this.post('ack', { seq: message.seq })
    for (const check of this.#waiting) check()
  }

  /** Sends a request without waiting for its answer. */
  post(op, fields = {}) {
    const n = ++this.#n
    this.#ops.set(n, op)
    this.child.stdin.write(`${JSON.stringify({ n, op, ...fields })}\n`)
    return n
  }

  /** Sends a request; the answer, whatever it says. */
  ask(op, fields = {}) {
    const n = this.post(op, fields)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer to ${op}\n${this.report()}`)), DEADLINE_MS)
      this.#answers.set(n, {
        resolve: answer => (clearTimeout(timer), resolve(answer)),
        reject: error => (clearTimeout(timer), reject(error))
      })
    })
  }

  /** Sends a request that must succeed. */
  async do(op, fields = {}) {
    const answer = await this.ask(op, fields)
    if (!answer.ok) throw new Error(`${op}: ${JSON.stringify(answer)}\n${this.report()}`)
    return answer
  }

  /** Forgets the events so far. */
  mark() {
    this.#seen = this.events.length
    return this
  }

  /** Waits for an event since the last `mark`; `wanted` names members and their values (or lists of them). */
  event(wanted, deadlineMs = DEADLINE_MS) {
    const test = typeof wanted === 'function' ? wanted : event => matches(event, wanted)
    const find = () => this.events.slice(this.#seen).find(test)
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = find()
        if (!found && !this.exit) return
        clearTimeout(timer)
        this.#waiting.delete(check)
        if (found) resolve(found)
        else reject(new Error(`the sidecar ended before ${JSON.stringify(wanted)}\n${this.report()}`))
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(check)
        reject(
          new Error(
            `waited for ${wanted instanceof Function ? wanted : JSON.stringify(wanted)}\n${this.report()}`
          )
        )
      }, deadlineMs)
      this.#waiting.add(check)
      check()
    })
  }

  /** All events of a kind since the last `mark`. */
  all(wanted) {
    return this.events.slice(this.#seen).filter(event => matches(event, wanted))
  }

  report() {
    const tail = this.events.slice(-15).map(event => JSON.stringify(event).slice(0, 300))
    return [`exit ${JSON.stringify(this.exit)}`, ...tail, this.stderr.slice(-1500)].join('\n')
  }

  kill() {
    this.child.kill('SIGKILL')
    return this.exited
  }

  /** Ends it as a gateway that goes away does. */
  end() {
    this.child.stdin.end()
    return this.exited
  }
}
