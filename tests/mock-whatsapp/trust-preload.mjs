// node --import <this file> dist/sidecar.mjs
// Points an unmodified client at the mock, bundled or not: there is no test hook in the product.
//   MOCK_WA_ROOT   public key (hex) that signs the mock's certificates
//   MOCK_WA_URL    its WebSocket address
//   MOCK_WA_MEDIA  host:port of its media store; NODE_EXTRA_CA_CERTS must name its certificate as well
//   MOCK_WA_FAST   divisor of all timers of a second and more: waiting becomes bearable
import https from 'node:https'
import { syncBuiltinESMExports } from 'node:module'
import url from 'node:url'

const PINNED_ROOT = '142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b'
const REAL_ADDRESS = 'wss://web.whatsapp.com/ws/chat'
const { MOCK_WA_ROOT: root, MOCK_WA_URL: address, MOCK_WA_MEDIA: media, MOCK_WA_FAST: fast } = process.env

/** The pinned key is a constant made from hex when the library loads. */
function trustMock() {
  const from = Buffer.from
  Buffer.from = function (value, ...rest) {
    return from.call(this, value === PINNED_ROOT ? root : value, ...rest)
  }
}

/** The default address goes through the URL class of node:url. */
function redirectSocket() {
  const Real = url.URL
  url.URL = globalThis.URL = class URL extends Real {
    constructor(input, base) {
      super(input === REAL_ADDRESS ? address : input, base)
    }
  }
}

/** Media is only ever asked of WhatsApp's own hosts. */
function redirectMedia() {
  const request = https.request
  const { hostname, port } = new URL(`https://${media}`)
  https.request = (target, ...rest) => {
    if (target?.hostname?.endsWith('.whatsapp.net')) {
      return request(new URL(target.pathname + target.search, `https://${hostname}:${port}`), ...rest)
    }
    return request(target, ...rest)
  }
}

/** Divides all timers of a second and more. */
function hurry() {
  const divisor = Number(fast)
  for (const name of ['setTimeout', 'setInterval']) {
    const real = globalThis[name]
    globalThis[name] = (act, ms, ...rest) => real(act, ms >= 1000 ? ms / divisor : ms, ...rest)
  }
}

if (root && address) {
  trustMock()
  redirectSocket()
}
if (media) redirectMedia()
if (fast) hurry()
syncBuiltinESMExports()
