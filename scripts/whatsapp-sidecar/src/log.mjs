// Log lines for the gateway: redacted, and never a flood. Also the logger that Baileys is given.
import { LOG_LINES_MAX, LOG_WINDOW_MS } from './limits.mjs'
import { redacted } from './redact.mjs'
import { writeLine } from './stdio.mjs'

let windowStart = 0
let shown = 0
let held = 0

/**
 * @param {'warn' | 'error'} level
 * @param {string} text
 */
export function log(level, text) {
  const now = performance.now()
  if (now - windowStart > LOG_WINDOW_MS) {
    if (held) writeLine({ ev: 'log', level: 'warn', text: `${held} more log lines were left out` })
    windowStart = now
    shown = 0
    held = 0
  }
  if (++shown > LOG_LINES_MAX) held++
  else writeLine({ ev: 'log', level, text: redacted(text) })
}

/** Only the words of a library's line: its objects hold keys. */
function fromBaileys(level) {
  return (context, text) => {
    const words = typeof context === 'string' ? context : text
    const cause = context?.err ?? context?.error
    if (words) log(level, cause?.message ? `${words}: ${cause.message}` : words)
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
