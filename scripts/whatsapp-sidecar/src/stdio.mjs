// Standard input and output: the protocol's alone. Must be imported before anything else, since libraries
// print (libsignal even keys); what they print goes to stderr, redacted to its first argument.
import net from 'node:net'
import { createWriteStream } from 'node:fs'
import { LINE_BYTES_MAX, OUT_BYTES_HIGH } from './limits.mjs'
import { redacted } from './redact.mjs'

/** File descriptor 1, not blocking where the system lets us (a pipe or a socket). */
function openOut() {
  try {
    return new net.Socket({ fd: 1, readable: false, writable: true })
  } catch {
    return createWriteStream('', { fd: 1 })
  }
}
const out = openOut()
// The gateway is gone; the end of stdin says the same.
out.on('error', () => process.exit(0))

const toStderr = text => process.stderr.write(`${redacted(text)}\n`)
for (const name of ['log', 'info', 'warn', 'error', 'debug', 'trace', 'dir', 'table']) {
  console[name] = first => toStderr(first)
}
process.stdout.write = text => toStderr(String(text))

/** What is to go on once the gateway has read what waited. */
let drained = []
out.on('drain', () => {
  const waiting = drained
  drained = []
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

/** @param {() => void} go called once, when the gateway has read what waited */
export function onceDrained(go) {
  drained.push(go)
}

/** @param {() => void} done called when everything written has left */
export const finishOut = done => out.end(done)

/**
 * Splits stdin into lines.
 * @param {(line: string) => void} onLine
 * @param {(bytes: number) => void} onTooLong a line was longer than allowed; it is skipped
 * @param {() => void} onEnd
 */
export function readLines(onLine, onTooLong, onEnd) {
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
    if (length > LINE_BYTES_MAX) onTooLong(length)
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
