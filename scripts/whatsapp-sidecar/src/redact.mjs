// What may stand in log lines and errors: no key material, no tokens, no addresses with credentials in them.
import { LOG_CHARS_MAX } from './limits.mjs'

const RULES = [
  [/\b([a-z][a-z0-9+.-]*:\/\/)[^/\s@]+@/gi, '$1[redacted]@'],
  [/\b(?:[0-9a-f]{2}[ :]?){16,}/gi, '[redacted]'],
  [/\/?[A-Za-z0-9+/]{42,43}=/g, '[redacted]'],
  // Not after or from a slash: that would be a path.
  [/(?<![A-Za-z0-9+/_.-])[A-Za-z0-9+_-][A-Za-z0-9+/_-]{31,}={0,2}/g, '[redacted]'],
  [/<Buffer [^>]*>/g, '[redacted]'],
  [/\s+/g, ' ']
]

/**
 * A text as it may be logged: one line, bounded, with everything that looks like a key replaced.
 * @param {unknown} text
 * @returns {string}
 */
export function redacted(text) {
  let out = typeof text === 'string' ? text : text instanceof Error ? text.message : typeof text
  out = out.slice(0, 4 * LOG_CHARS_MAX)
  for (const [pattern, put] of RULES) out = out.replace(pattern, put)
  return out.slice(0, LOG_CHARS_MAX)
}
