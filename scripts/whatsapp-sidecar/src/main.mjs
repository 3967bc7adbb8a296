// The process: takes requests from stdin, writes their answers to stdout, and ends when the gateway does. What a
// request does is the sidecar's matter, which the first request (`hello`) makes.
import { finishOut, isCongested, readLines, writeLine } from './stdio.mjs'
import { RequestError, asAnswer, invalid } from './errors.mjs'
import { LAST_LINE_MS, LINE_BYTES_MAX, REQUESTS_MAX } from './limits.mjs'
import { redacted } from './redact.mjs'
import { OPS, Sidecar } from './sidecar.mjs'

/** Exit status after an error that nothing was prepared for (EX_SOFTWARE). */
const EXIT_FATAL = 70
/** Exit status when another process has the folder (EX_TEMPFAIL). */
const EXIT_LOCKED = 75

/** Undefined before `hello`. */
let sidecar
let requestsAtWork = 0
let isEnding = false

/** Writes one last line and ends: to go on after an error that nobody foresaw might do harm. */
function fail(error) {
  writeLine({ ev: 'fatal', text: redacted(error) })
  if (!isCongested()) process.exit(EXIT_FATAL)
  finishOut(() => process.exit(EXIT_FATAL))
  setTimeout(() => process.exit(EXIT_FATAL), LAST_LINE_MS)
}

/** Ends at once, even if the line does not get out: what is not saved must not be acknowledged to WhatsApp. */
function failJournal(error) {
  writeLine({ ev: 'fatal', text: `the journal cannot be written: ${redacted(error)}` })
  process.exit(EXIT_FATAL)
}

async function end(status = 0) {
  if (isEnding) return
  isEnding = true
  setTimeout(() => process.exit(status), LAST_LINE_MS)
  await sidecar?.close()
  finishOut(() => process.exit(status))
}

function hello(request) {
  if (sidecar) throw invalid('`hello` was said already')
  sidecar = new Sidecar(request, failJournal)
  return sidecar.greeting()
}

/** Executes a request and writes its answer; rejects with what the answer is to say if it fails. */
async function execute({ n, op, ...request }) {
  if (op === 'shutdown') {
    writeLine({ re: n, ok: true })
    return end()
  }
  if (op !== 'hello' && !sidecar) throw new RequestError('no-hello', '`hello` comes first')
  if (requestsAtWork >= REQUESTS_MAX)
    throw new RequestError('busy', `${REQUESTS_MAX} requests are at work`, true)
  requestsAtWork++
  try {
    const answer = op === 'hello' ? hello(request) : await OPS[op](sidecar, request)
    writeLine({ re: n, ok: true, ...answer })
  } finally {
    requestsAtWork--
  }
  if (op === 'hello') sidecar.start()
}

const isOp = op => op === 'hello' || op === 'shutdown' || Object.hasOwn(OPS, op)

function parsed(line) {
  let request
  try {
    request = JSON.parse(line)
  } catch {
    throw invalid('not JSON')
  }
  if (typeof request !== 'object' || request === null || Array.isArray(request))
    throw invalid('not a JSON object')
  return request
}

async function onLine(line) {
  if (isEnding) return
  let n = null
  try {
    const request = parsed(line)
    if (Number.isSafeInteger(request.n)) n = request.n
    else throw invalid('`n` is no request number')
    if (!isOp(request.op)) throw invalid('`op` is unknown')
    await execute(request)
  } catch (error) {
    writeLine({ re: n, ok: false, ...asAnswer(error) })
    if (error.code === 'locked') await end(EXIT_LOCKED)
  }
}

function onLongLine(bytes) {
  const error = invalid(`a line of ${bytes} bytes, at most ${LINE_BYTES_MAX}`)
  writeLine({ re: null, ok: false, ...asAnswer(error) })
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
process.on('SIGTERM', () => void end())
process.on('SIGINT', () => void end())
readLines({ onLine: line => void onLine(line), onLongLine, onEnd: () => void end() })
