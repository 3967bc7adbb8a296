// Proxies on loopback, of both kinds, that note whom they were asked for.
import http from 'node:http'
import net from 'node:net'

const join = (a, b) => {
  a.pipe(b).pipe(a)
  a.on('error', () => b.destroy())
  b.on('error', () => a.destroy())
}

const listening = server =>
  new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server.address().port)))

/** An HTTP proxy that wants a name and a password. */
export async function httpProxy({ user, password }) {
  const asked = []
  const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const server = http.createServer((_, res) => res.writeHead(405).end())
  server.on('connect', (req, client, head) => {
    if (req.headers['proxy-authorization'] !== wanted) return client.end('HTTP/1.1 407 Who are you\r\n\r\n')
    asked.push(req.url)
    const { hostname, port } = new URL(`http://${req.url}`)
    const remote = net.connect(port, hostname, () => {
      client.write('HTTP/1.1 200 Connected\r\n\r\n')
      remote.write(head)
      join(client, remote)
    })
    remote.on('error', () => client.destroy())
  })
  return {
    asked,
    url: `http://${user}:${password}@127.0.0.1:${await listening(server)}`,
    close: () => server.close()
  }
}

const next = socket => new Promise(resolve => socket.once('data', resolve))

async function serveSocks(client, asked) {
  await next(client)
  client.write(Buffer.from([5, 0]))
  const request = await next(client)
  const isName = request[3] === 3
  const host = isName ? request.toString('utf8', 5, 5 + request[4]) : [...request.subarray(4, 8)].join('.')
  const port = request.readUInt16BE(request.length - 2)
  asked.push(`${host}:${port}`)
  const remote = net.connect(port, host, () => {
    client.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]))
    join(client, remote)
  })
  remote.on('error', () => client.destroy())
}

/** A SOCKS5 proxy for anybody. */
export async function socksProxy() {
  const asked = []
  const server = net.createServer(client => {
    client.on('error', () => {})
    void serveSocks(client, asked)
  })
  return { asked, url: `socks5://127.0.0.1:${await listening(server)}`, close: () => server.close() }
}
