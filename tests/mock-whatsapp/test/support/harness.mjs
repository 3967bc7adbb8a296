// A mock WhatsApp with people in it, and sidecars that talk to it. One per test file.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { MockWa } from '../../lib/server.mjs'
import { Sidecar } from './sidecar.mjs'

export const OWNER = '15550009999'
export const ALICE = '15550001111'
export const BOB = '15550002222'

/** An id for a message, as clients choose them. */
export const newId = () => `3EB0${randomBytes(9).toString('hex').toUpperCase()}`

// libsignal prints, which would stand among the test results.
console.log = console.info = console.warn = console.error = () => {}

export class Harness {
  #sidecars = new Set()
  #folders = 0
  #accounts = 0

  /** @param {object} [knobs] of the mock @returns {Promise<Harness>} torn down after the tests of the file */
  static async start(knobs) {
    const harness = await new Harness().open(knobs)
    after(() => harness.stop())
    return harness
  }

  /** Starts the mock. */
  async open(knobs = {}) {
    this.dir = mkdtempSync(join(tmpdir(), 'mock-whatsapp-'))
    this.wa = new MockWa({ knobs: { history: false, ...knobs } })
    await this.wa.listen()
    this.ca = join(this.dir, 'ca.pem')
    writeFileSync(this.ca, this.wa.media.tls.cert)
    return this
  }

  /** A control operation of the mock. */
  op(op, fields = {}) {
    return this.wa.op({ op, ...fields })
  }

  /** Waits for an event of the mock, past ones included. */
  wait(match, since = 0) {
    return this.op('wait', { match, since })
  }

  /** Number of the mock's last event. */
  get now() {
    return this.wa.seq
  }

  env(more = {}) {
    return {
      MOCK_WA_ROOT: this.wa.root.public.toString('hex'),
      MOCK_WA_URL: this.wa.url,
      MOCK_WA_MEDIA: this.wa.media.host,
      NODE_EXTRA_CA_CERTS: this.ca,
      ...more
    }
  }

  /** A folder for one login. */
  folder() {
    const name = `login-${++this.#folders}`
    return { authDir: join(this.dir, name, 'auth'), mediaDir: join(this.dir, name, 'media') }
  }

  /** Starts a sidecar that has not been greeted. */
  spawn({ env, ...options } = {}) {
    const sidecar = new Sidecar(this.env(env), options)
    this.#sidecars.add(sidecar)
    return sidecar
  }

  /** Starts a sidecar on a folder. */
  async sidecar(folder, { hello = {}, ...options } = {}) {
    const sidecar = this.spawn(options)
    sidecar.hello = await sidecar.do('hello', { proto: 1, ...folder, ...hello })
    return sidecar
  }

  /** Starts a sidecar and links it by QR code. */
  async linked(folder = this.folder(), { account = OWNER, ...options } = {}) {
    const sidecar = await this.sidecar(folder, options)
    await sidecar.do('link', { mode: 'qr' })
    const { data } = await sidecar.event({ ev: 'qr' })
    await this.op('scan-qr', { qr: data, account })
    await sidecar.event({ ev: 'state', state: 'ready' })
    sidecar.folder = folder
    return sidecar.mark()
  }

  /** Number of an account that no other test of the file has. */
  account() {
    return String(15550010000 + ++this.#accounts)
  }

  /** Links a sidecar to an account of its own, so that a test can end it alone; kills it after the test `t`. */
  async linkedAlone(t, options) {
    const account = this.account()
    const sidecar = await this.linked(this.folder(), { account, ...options })
    sidecar.account = account
    t.after(() => sidecar.kill())
    return sidecar
  }

  /** Starts a sidecar on a linked folder and connects it. */
  async connected(folder, options) {
    const sidecar = await this.sidecar(folder, options)
    await sidecar.do('connect')
    await sidecar.event({ ev: 'state', state: 'ready' })
    sidecar.folder = folder
    return sidecar
  }

  async stop() {
    await Promise.all([...this.#sidecars].map(sidecar => sidecar.exit ?? sidecar.kill()))
    await this.wa.unlisten().catch(() => {})
    this.wa.media.server.closeAllConnections()
    this.wa.media.server.close()
    rmSync(this.dir, { recursive: true, force: true })
  }
}
