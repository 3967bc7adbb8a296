// Connections through an HTTP(S) proxy (CONNECT) or a SOCKS5 proxy, for the WebSocket and for media alike. The proxy
// resolves names. Its agent is made by sidecar.mjs, from what `hello` says.
import https from 'node:https'
import net from 'node:net'
import tls from 'node:tls'
import { invalid } from './errors.mjs'
import { PROXY_ANSWER_BYTES_MAX, PROXY_MS } from './limits.mjs'

const PORTS = { 'http:': 80, 'https:': 443, 'socks5:': 1080, 'socks5h:': 1080 }
const SOCKS_ERRORS = [
  '',
  'failed',
  'does not allow it',
  'network unreachable',
  'host unreachable',
  'connection refused',
  'timed out',
  'command not supported',
  'address type not supported'
]

/** Reads from a socket until `want` says how many bytes belong to the answer, and leaves the rest in it. */
function read(socket, want) {
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0)
    const stop = () => {
      socket.off('readable', onReadable)
      socket.off('end', onEnd)
      socket.off('error', onEnd)
    }
    const onEnd = error => {
      stop()
      reject(error ?? new Error('the proxy closed the connection'))
    }
    const onReadable = () => {
      for (let chunk = socket.read(); chunk; chunk = socket.read()) {
        bytes = Buffer.concat([bytes, chunk])
        const length = want(bytes)
        if (length === undefined && bytes.length <= PROXY_ANSWER_BYTES_MAX) continue
        stop()
        if (length === undefined) return reject(new Error('the proxy answers without end'))
        if (bytes.length > length) socket.unshift(bytes.subarray(length))
        return resolve(bytes.subarray(0, length))
      }
    }
    socket.on('readable', onReadable).on('end', onEnd).on('error', onEnd)
    onReadable()
  })
}

const credentialsOf = url => ({
  user: decodeURIComponent(url.username),
  password: decodeURIComponent(url.password)
})

async function httpConnect(socket, url, host, port) {
  const target = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`
  const { user, password } = credentialsOf(url)
  const auth = Buffer.from(`${user}:${password}`).toString('base64')
  const login = user ? `Proxy-Authorization: Basic ${auth}\r\n` : ''
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${login}\r\n`)
  const head = await read(socket, bytes => {
    const end = bytes.indexOf('\r\n\r\n')
    return end < 0 ? undefined : end + 4
  })
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(head.toString('latin1'))?.[1]
  if (status !== '200') throw new Error(`the proxy answered ${status ?? 'nonsense'}`)
}

/** For `read`: an answer of so many bytes. */
const exactly = length => bytes => (bytes.length < length ? undefined : length)

function socksAddress(host) {
  if (net.isIPv4(host)) return Buffer.from([1, ...host.split('.').map(Number)])
  const name = Buffer.from(host)
  return Buffer.concat([Buffer.from([3, name.length]), name])
}

async function socksConnect(socket, url, host, port) {
  const { user, password } = credentialsOf(url)
  socket.write(Buffer.from(user ? [5, 2, 0, 2] : [5, 1, 0]))
  const [version, method] = await read(socket, exactly(2))
  if (version !== 5) throw new Error('the proxy does not speak SOCKS5')
  if (method === 2 && user) {
    const [name, secret] = [Buffer.from(user), Buffer.from(password)]
    socket.write(Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([secret.length]), secret]))
    if ((await read(socket, exactly(2)))[1] !== 0) throw new Error('the proxy refused the credentials')
  } else if (method !== 0) throw new Error('the proxy wants another way of logging in')
  const address = socksAddress(host)
  socket.write(Buffer.concat([Buffer.from([5, 1, 0]), address, Buffer.from([port >> 8, port & 255])]))
  const LENGTHS = { 1: () => 10, 4: () => 22, 3: bytes => 7 + bytes[4] }
  const answer = await read(socket, bytes => {
    if (bytes.length < 5) return undefined
    return exactly(LENGTHS[bytes[3]]?.(bytes) ?? 10)(bytes)
  })
  if (answer[1] !== 0) throw new Error(`the proxy says: ${SOCKS_ERRORS[answer[1]] ?? 'failed'}`)
}

function dial(url) {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const port = Number(url.port) || PORTS[url.protocol]
  return new Promise((resolve, reject) => {
    const socket =
      url.protocol === 'https:' ? tls.connect({ host, port, servername: host }) : net.connect({ host, port })
    socket
      .once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => resolve(socket))
      .once('error', reject)
    socket.setTimeout(PROXY_MS, () => socket.destroy(new Error('the proxy does not answer')))
  })
}

/** Agent for `ws` and `https.request` whose connections go through a proxy. */
class ProxyAgent extends https.Agent {
  /** Node refuses a request whose protocol is not its agent's; undefined lets this one carry `http:` and `https:`. */
  protocol = undefined
  #url

  constructor(url) {
    super({ keepAlive: false })
    this.#url = url
  }

  createConnection(options, done) {
    this.#connect(options).then(socket => done(null, socket), done)
  }

  async #connect({ host, port, servername, defaultPort = 443 }) {
    const socket = await dial(this.#url)
    try {
      const through = this.#url.protocol.startsWith('http') ? httpConnect : socksConnect
      await through(socket, this.#url, host, Number(port))
    } catch (error) {
      socket.destroy()
      throw error
    }
    socket.setTimeout(0)
    return defaultPort === 443 ? tls.connect({ socket, servername: servername || host }) : socket
  }
}

/**
 * @param {string | undefined} proxy `http://`, `https://` or `socks5://`, with credentials if need be
 * @returns {https.Agent | undefined}
 */
export function agentFor(proxy) {
  if (!proxy) return undefined
  const url = URL.canParse(proxy) ? new URL(proxy) : undefined
  if (!url || !(url.protocol in PORTS)) throw invalid('`proxy` is no http, https or socks5 address')
  return new ProxyAgent(url)
}
