// Log lines for the gateway: redacted, and at most `LOG_LINES_MAX` in a window of time. Also the logger that Baileys
// is given.
import { LOG_LINES_MAX, LOG_WINDOW_MS } from './limits.mjs'
import { redacted } from './redact.mjs'
import { writeLine } from './stdio.mjs'

let windowStart = 0
let shown = 0
let leftOut = 0

/**
 * @param {'warn' | 'error'} level
 * @param {string} text
 */
export function log(level, text) {
  const now = performance.now()
  if (now - windowStart > LOG_WINDOW_MS) {
    if (leftOut) writeLine({ ev: 'log', level: 'warn', text: `${leftOut} more log lines were left out` })
    windowStart = now
    shown = 0
    leftOut = 0
  }
  if (++shown > LOG_LINES_MAX) leftOut++
  else writeLine({ ev: 'log', level, text: redacted(text) })
}

/** Logs the text of Baileys' line and of its error only: the objects beside them hold keys. */
function fromBaileys(level) {
  return (context, text) => {
    const line = typeof context === 'string' ? context : text
    const cause = context?.err ?? context?.error
    if (line) log(level, cause?.message ? `${line}: ${cause.message}` : line)
  }
}

const quiet = () => {}

/** What Baileys logs to. Warnings are many and of use only to its authors. */
export const baileysLogger = {
  level: 'error',
  child: () => baileysLogger,
  trace: quiet,
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: fromBaileys('warn'),
  fatal: fromBaileys('error')
}
