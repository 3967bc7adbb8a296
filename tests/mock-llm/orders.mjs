// What the mock answers: the orders `[[...]]` in the last message of the user, made into a reply. Knows nothing of HTTP
// or of how a reply is written.
//
//   (none)                "You said: <text>"
//   [[text ANYTHING]]     exactly ANYTHING (\n means a line feed)
//   [[tool NAME {json}]]  text, then a tool call; several of them make several calls in one turn. When the results
//                         come back: "Tool said: <first line of each result>"
//   [[bash CMD]]          short for [[tool bash {"command":"CMD"}]]
//   [[loop N CMD]]        N turns with one bash call each, then a final text
//   [[think TEXT]]        reasoning before the answer
//   [[words N]]           N numbered words
//   [[code N]]            a fenced code block of N lines between two paragraphs
//   [[unicode]]           emoji, combining marks, right to left, separators
//   [[empty]]             no content at all
//   [[length]]            stops because of the maximum of tokens
//   [[recall]]            how many users' messages there are, the first one, and the last answer: proves a resumed session
//   [[images]]            "images=<n> <mime>:<bytes>..." of the last user's message
//   [[system TEXT]]       whether the system prompt contains TEXT
//   [[delay MS]]          pause between pieces; [[first MS]]: before the first one
//   [[chunk N]]           UTF-16 units of a piece (8)
//   [[split]]             the body in pieces of 7 bytes, so that lines and characters come apart
//   [[status CODE]]       an HTTP error; [[retry-after S]] adds that header
//   [[fail N CODE]]       HTTP CODE for the first N requests with this text, then as if it were not there
//   [[overflow]]          HTTP 400, the prompt is too long
//   [[hang]]              never answers; [[stall]]: goes silent half way; [[cut]]: breaks off half way
//   [[garbage]]           a line that is no JSON half way

const DELAY_MS = 5
const CHUNK_UNITS = 8
const THOUGHT = 'Let me think about this carefully.'
const TOO_LONG = 'prompt is too long: 250000 tokens > 200000 maximum'
const UNICODE =
  'Emoji 😀 👩‍👩‍👧‍👦 flag 🇨🇭 combining e\u0301 RTL שלום عربى CJK 漢字 ' +
  'sep[\u2028][\u2029] nbsp[\u00a0] zwsp[\u200b] quote "\\" tab[\t] end 🏁'
/** What happens to the answer on its way. */
const MISHAPS = ['hang', 'stall', 'cut', 'garbage']

/** Requests that [[fail]] has refused so far, by the user's text. */
const refusals = new Map()

/**
 * @typedef {object} Reply
 * @property {number} [status] of an HTTP error; then nothing else counts but these two
 * @property {string} [error] its text
 * @property {Record<string, string>} headers
 * @property {string} think
 * @property {string} text
 * @property {{name: string, args: object}[]} calls
 * @property {boolean} isTooLong the answer ends because of the maximum of tokens
 * @property {"hang"|"stall"|"cut"|"garbage"} [mishap]
 * @property {number} delayMs between pieces
 * @property {number} firstMs before the first one
 * @property {number} chunkUnits UTF-16 units of a piece
 * @property {boolean} isSplit whether bytes come in small pieces
 */

/** @param {object} body of the request @returns {Reply} */
export function replyTo(body) {
  const messages = (body.messages ?? []).map(messageOf)
  const at = messages.findLastIndex(({ role }) => role === 'user')
  const user = messages[at] ?? { text: '', images: [] }
  const results = messages.slice(at + 1).filter(({ role }) => role === 'tool')
  const orders = ordersIn(user.text)
  const order = name => orders.find(([other]) => other === name)?.[1]
  const reply = {
    ...refusalOf(order, user),
    think: results.length === 0 && order('think') !== undefined ? order('think') || THOUGHT : '',
    ...turnOf(orders, order, results),
    isTooLong: order('length') !== undefined,
    mishap: MISHAPS.find(name => order(name) !== undefined),
    delayMs: Number(order('delay') ?? DELAY_MS),
    firstMs: Number(order('first') ?? 0),
    chunkUnits: Math.max(1, Number(order('chunk') ?? CHUNK_UNITS)),
    isSplit: order('split') !== undefined
  }
  reply.text ??= textOf(order, user, messages)
  return reply
}

/** A message of the conversation: who wrote it, its text and its pictures. */
function messageOf({ role, content }) {
  const parts = typeof content === 'string' ? [content] : (content ?? [])
  const text = parts.map(part => (typeof part === 'string' ? part : (part.text ?? ''))).join('')
  const images = parts.filter(({ type }) => type === 'image_url').map(({ image_url: image }) => imageOf(image.url))
  return { role: role === 'developer' ? 'system' : role, text, images }
}

function imageOf(url) {
  const [, mime, base64] = /^data:([^;]+);base64,(.*)$/s.exec(url) ?? [undefined, 'url', '']
  return { mime, bytes: Buffer.from(base64, 'base64').length }
}

/** The orders in a text, as `[name, rest]`. */
function ordersIn(text) {
  const orders = []
  for (let at = text.indexOf('[['); at >= 0; at = text.indexOf('[[', at)) {
    let end = text.indexOf(']]', at + 2)
    if (end < 0) break
    // A list in JSON at the end of an order.
    while (text[end + 2] === ']') end++
    orders.push(parted(text.slice(at + 2, end)))
    at = end + 2
  }
  return orders
}

/** A text parted at its first space. */
function parted(text) {
  const at = text.search(/\s/)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)]
}

function refusalOf(order, user) {
  const headers = order('retry-after') === undefined ? {} : { 'retry-after': order('retry-after') }
  if (order('overflow') !== undefined) return { status: 400, error: TOO_LONG, headers }
  if (order('status') !== undefined) return { status: Number(order('status')), headers }
  if (order('fail') === undefined) return { headers }
  const [times, status] = order('fail').split(/\s+/).map(Number)
  const refused = refusals.get(user.text) ?? 0
  if (refused >= times) return { headers }
  refusals.set(user.text, refused + 1)
  return { status, headers }
}

/** Calls of tools and the text beside them; without a text where no tool is meant. */
function turnOf(orders, order, results) {
  if (order('loop') !== undefined) {
    const [turns, command] = parted(order('loop'))
    if (results.length >= Number(turns)) return { text: `Done after ${results.length} steps.`, calls: [] }
    return { text: `Step ${results.length + 1}.`, calls: [{ name: 'bash', args: { command } }] }
  }
  const calls = orders.flatMap(([name, rest]) => {
    if (name === 'bash') return [{ name, args: { command: rest } }]
    return name === 'tool' ? [callOf(rest)] : []
  })
  if (calls.length === 0) return { calls }
  if (results.length === 0) return { text: 'Let me run that.', calls }
  return { text: `Tool said: ${results.map(({ text }) => text.split('\n')[0]).join(' | ')}`, calls: [] }
}

function callOf(text) {
  const [name, json] = parted(text)
  try {
    return { name, args: JSON.parse(json || '{}') }
  } catch {
    return { name, args: { raw: json } }
  }
}

const TEXTS = {
  text: text => text.replaceAll('\\n', '\n'),
  words: count => Array.from({ length: Number(count) }, (_, at) => `word${at + 1}`).join(' '),
  code: lines => `Before the code.\n\n\`\`\`rust\n${codeOf(Number(lines))}\n\`\`\`\n\nAfter the code.`,
  unicode: () => UNICODE,
  empty: () => '',
  recall: (_, user, messages) => {
    const users = messages.filter(({ role }) => role === 'user')
    const last = messages.findLast(({ role, text }) => role === 'assistant' && text)
    return `users=${users.length} first=${users[0]?.text ?? ''} last-assistant=${last?.text ?? ''}`
  },
  images: (_, { images }) =>
    `images=${images.length}${images.map(({ mime, bytes }) => ` ${mime}:${bytes}`).join('')}`,
  system: (wanted, user, messages) =>
    messages.some(({ role, text }) => role === 'system' && text.includes(wanted)) ? 'yes' : 'no'
}

const codeOf = lines =>
  Array.from({ length: lines }, (_, at) => {
    const number = at + 1
    return `let line_${number} = ${number}; // some code <b>&amp;_*[]()~\`>#+-=|{}.!`
  }).join('\n')

function textOf(order, user, messages) {
  for (const [name, make] of Object.entries(TEXTS)) {
    if (order(name) !== undefined) return make(order(name), user, messages)
  }
  return `You said: ${user.text.replace(/\[\[[^\]]*\]\]/g, '').trim()}`
}
