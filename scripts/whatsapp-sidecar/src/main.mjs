// Entry: reads requests, writes their answers, and ends when the gateway does. Knows nothing of what a request does.
import { finishOut, isCongested, readLines, writeLine } from './stdio.mjs'
import { RequestError, asAnswer, invalid } from './errors.mjs'
import { LAST_WORDS_MS, LINE_BYTES_MAX, REQUESTS_MAX } from './limits.mjs'
import { redacted } from './redact.mjs'
import { Sidecar } from './sidecar.mjs'

/** Exit status after an error that nothing was prepared for (EX_SOFTWARE), and when the folder is taken. */
const EXIT_FATAL = 70
const EXIT_LOCKED = 75

let isEnding = false
let requestsAtWork = 0

/** Says one last line and ends, at once: what goes on after an unforeseen error may do harm. */
function fatal(error) {
  writeLine({ ev: 'fatal', text: redacted(error) })
  if (!isCongested()) process.exit(EXIT_FATAL)
  finishOut(() => process.exit(EXIT_FATAL))
  setTimeout(() => process.exit(EXIT_FATAL), LAST_WORDS_MS)
}
process.on('uncaughtException', fatal)
process.on('unhandledRejection', fatal)

const sidecar = new Sidecar(error => {
  writeLine({ ev: 'fatal', text: `the journal cannot be written: ${redacted(error)}` })
  process.exit(EXIT_FATAL)
})

async function end(status = 0) {
  if (isEnding) return
  isEnding = true
  setTimeout(() => process.exit(status), LAST_WORDS_MS)
  await sidecar.close()
  finishOut(() => process.exit(status))
}
process.on('SIGTERM', () => void end())
process.on('SIGINT', () => void end())

async function execute({ n, op, ...request }) {
  if (op === 'shutdown') {
    writeLine({ re: n, ok: true })
    return end()
  }
  if (op !== 'hello' && !sidecar.isReady) throw new RequestError('no-hello', '`hello` comes first')
  if (requestsAtWork >= REQUESTS_MAX) throw new RequestError('busy', `${REQUESTS_MAX} requests are at work`, true)
  requestsAtWork++
  try {
    const answer = await sidecar.ops[op](request)
    writeLine({ re: n, ok: true, ...answer })
  } finally {
    requestsAtWork--
  }
  if (op === 'hello') sidecar.afterHello()
}

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
    if (request.op !== 'shutdown' && !Object.hasOwn(sidecar.ops, request.op)) throw invalid('`op` is unknown')
    await execute(request)
  } catch (error) {
    writeLine({ re: n, ok: false, ...asAnswer(error) })
    if (error.code === 'locked') await end(EXIT_LOCKED)
  }
}

readLines(
  line => void onLine(line),
  bytes =>
    writeLine({
      re: null,
      ok: false,
      ...asAnswer(invalid(`a line of ${bytes} bytes, at most ${LINE_BYTES_MAX}`))
    }),
  () => void end()
)
