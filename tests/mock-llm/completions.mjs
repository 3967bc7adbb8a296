// A reply as OpenAI's Chat Completions streams it. Called by server.mjs; knows nothing of how the reply came about.

const CREATED = 1_700_000_000
const ERRORS = {
  400: ['invalid_request_error', 'bad request'],
  401: ['authentication_error', 'invalid api key'],
  403: ['permission_error', 'forbidden'],
  404: ['not_found_error', 'model not found'],
  413: ['request_too_large', 'request too large'],
  429: ['rate_limit_error', 'rate limited'],
  500: ['api_error', 'internal server error'],
  502: ['api_error', 'bad gateway'],
  503: ['api_error', 'service unavailable'],
  529: ['overloaded_error', 'Overloaded']
}

let count = 0

/** @param {import('./orders.mjs').Reply} reply with a `status` @returns {object} its body */
export function errorOf({ status, error }) {
  const [type, message] = ERRORS[status] ?? ['api_error', 'error']
  return { error: { message: error ?? message, type, code: type, param: null } }
}

/**
 * @param {import('./orders.mjs').Reply} reply
 * @param {object} body of the request
 * @returns {string[]} the data of each event of the stream
 */
export function eventsOf({ think, text, calls, isTooLong, chunkUnits }, body) {
  const number = ++count
  const head = { id: `chatcmpl-mock-${number}`, object: 'chat.completion.chunk', created: CREATED, model: body.model }
  const events = []
  const add = (delta, finish = null) =>
    events.push(JSON.stringify({ ...head, choices: [{ index: 0, delta, finish_reason: finish }] }))
  add({ role: 'assistant', content: '' })
  for (const piece of pieces(think, chunkUnits)) add({ reasoning_content: piece })
  for (const piece of pieces(text, chunkUnits)) add({ content: piece })
  calls.forEach(({ name, args }, index) => {
    const id = `call_mock_${number}_${index}`
    add({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] })
    for (const piece of pieces(JSON.stringify(args), chunkUnits))
      add({ tool_calls: [{ index, function: { arguments: piece } }] })
  })
  add({}, calls.length > 0 ? 'tool_calls' : isTooLong ? 'length' : 'stop')
  events.push(JSON.stringify({ ...head, choices: [], usage: usageOf(think + text, body) }), '[DONE]')
  return events
}

/** Tokens, guessed from the length. */
function usageOf(answer, { messages = [] }) {
  const tokens = length => Math.max(1, Math.ceil(length / 4))
  const [asked, answered] = [tokens(JSON.stringify(messages).length), tokens(answer.length)]
  return { prompt_tokens: asked, completion_tokens: answered, total_tokens: asked + answered }
}

/** A text in pieces of so many UTF-16 units; no character is cut. */
function pieces(text, units) {
  const all = []
  for (let from = 0; from < text.length; ) {
    let to = Math.min(text.length, from + units)
    const last = text.charCodeAt(to - 1)
    if (to < text.length && last >= 0xd800 && last <= 0xdbff) to++
    all.push(text.slice(from, to))
    from = to
  }
  return all
}
