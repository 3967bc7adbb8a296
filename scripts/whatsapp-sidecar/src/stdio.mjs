// Standard input and output, which carry the protocol and nothing else. Must be imported before anything else, since
// libraries print (libsignal even keys): of what they print the first argument goes to stderr, redacted.
import net from 'node:net'
import { createWriteStream } from 'node:fs'
import { LINE_BYTES_MAX, OUT_BYTES_HIGH } from './limits.mjs'
import { redacted } from './redact.mjs'

/** File descriptor 1, opened so that a write does not block where the system offers that (a pipe or a socket). */
function openOut() {
  try {
    return new net.Socket({ fd: 1, readable: false, writable: true })
  } catch {
    return createWriteStream('', { fd: 1 })
  }
}
const out = openOut()
// The gateway is gone, so there is nobody to tell; the end of stdin would follow.
out.on('error', () => process.exit(0))

const toStderr = text => process.stderr.write(`${redacted(text)}\n`)
for (const name of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir', 'table']) {
  console[name] = first => toStderr(first)
}
process.stdout.write = text => toStderr(String(text))

/** Called once the gateway has read what waits. */
let onDrain = []
out.on('drain', () => {
  const waiting = onDrain
  onDrain = []
  for (const go of waiting) go()
})

/**
 * Writes one message to the gateway.
 * @param {object} message
 */
export function writeLine(message) {
  out.write(`${JSON.stringify(message)}\n`)
}

/** Whether so much waits for the gateway that nothing should be added. */
export const isCongested = () => out.writableLength > OUT_BYTES_HIGH

/** @param {() => void} go called once, when the gateway has read what waits */
export function onceDrained(go) {
  onDrain.push(go)
}

/** @param {() => void} done called when the gateway has everything that was written */
export const finishOut = done => out.end(done)

/**
 * Splits stdin into lines; reads on only while the gateway reads what is written.
 * @param {object} handlers
 * @param {(line: string) => void} handlers.onLine
 * @param {(bytes: number) => void} handlers.onLongLine a line was longer than `LINE_BYTES_MAX`; it is skipped
 * @param {() => void} handlers.onEnd
 */
export function readLines({ onLine, onLongLine, onEnd }) {
  let parts = []
  let bytes = 0
  const add = part => {
    bytes += part.length
    if (bytes <= LINE_BYTES_MAX) parts.push(part)
    else parts = []
  }
  const finish = () => {
    const [line, length] = [Buffer.concat(parts).toString('utf8'), bytes]
    parts = []
    bytes = 0
    if (length > LINE_BYTES_MAX) onLongLine(length)
    else if (line.trim()) onLine(line)
  }
  process.stdin.on('data', chunk => {
    let from = 0
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      add(chunk.subarray(from, at))
      finish()
      from = at + 1
    }
    add(chunk.subarray(from))
    if (isCongested()) {
      process.stdin.pause()
      onceDrained(() => process.stdin.resume())
    }
  })
  process.stdin.on('end', onEnd)
  process.stdin.on('error', onEnd)
}
