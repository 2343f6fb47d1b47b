// A load generator that keeps its connections between bursts, for TLS with client certificates (which wrk lacks)
// and for machines without wrk: `node load.mjs '{"port":…,"connections":…,"tls":…}'`, then one line with a number
// of seconds on stdin per burst; each gives one JSON line.
import fs from 'node:fs'
import net from 'node:net'
import readline from 'node:readline'
import tls from 'node:tls'

const { port, connections, tls: files } = JSON.parse(process.argv[2])
const REQUEST = Buffer.from(`GET / HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`)
const secure = files && {
  ca: fs.readFileSync(files.ca),
  cert: fs.readFileSync(files.cert),
  key: fs.readFileSync(files.key),
  servername: 'localhost',
  ciphers: 'TLS_AES_128_GCM_SHA256',
  minVersion: 'TLSv1.3',
}

let until = 0
let burst = { requests: 0, errors: 0, latencies: [] }
let busy = 0
let finished

const micros = () => Number(process.hrtime.bigint() / 1000n)

/** One connection: the next request leaves when the response is complete. */
class Client {
  constructor() {
    this.socket = undefined
    this.broken = true
    this.connect()
  }

  connect() {
    this.broken = false
    this.left = -1
    this.head = ''
    this.active = false
    const options = { host: '127.0.0.1', port, noDelay: true }
    const socket = secure ? tls.connect({ ...options, ...secure }) : net.connect(options)
    this.ready = new Promise((resolve) => {
      socket.once(secure ? 'secureConnect' : 'connect', resolve)
      socket.once('close', resolve)
    })
    socket.on('data', (chunk) => this.onData(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.broken = true
      if (this.active) this.end(false)
    })
    this.socket = socket
  }

  send() {
    this.active = true
    this.sent = micros()
    this.socket.write(REQUEST)
  }

  onData(chunk) {
    let body = chunk.length
    if (this.left < 0) {
      const at = chunk.indexOf('\r\n\r\n')
      this.head += chunk.latin1Slice(0, at < 0 ? chunk.length : at)
      if (at < 0) return
      const length = /content-length: *(\d+)/i.exec(this.head)
      this.ok = this.head.startsWith('HTTP/1.1 200')
      this.head = ''
      this.left = Number(length?.[1] ?? 0)
      body = chunk.length - at - 4
    }
    this.left -= body
    if (this.left > 0) return
    this.left = -1
    this.end(this.ok)
  }

  end(ok) {
    this.active = false
    const now = micros()
    if (ok) {
      burst.requests++
      burst.latencies.push(now - this.sent)
    } else burst.errors++
    if (now < until && !this.broken) this.send()
    else if (--busy === 0) finished()
  }
}

const clients = Array.from({ length: connections }, () => new Client())

async function run(seconds) {
  for (const client of clients) if (client.broken) client.connect()
  await Promise.all(clients.map((client) => client.ready))
  burst = { requests: 0, errors: 0, latencies: [] }
  const usable = clients.filter((client) => !client.broken)
  burst.errors += clients.length - usable.length
  busy = usable.length
  const start = micros()
  until = start + seconds * 1e6
  if (busy > 0) {
    await new Promise((resolve) => {
      finished = resolve
      for (const client of usable) client.send()
    })
  }
  const sorted = burst.latencies.sort((a, b) => a - b)
  const at = (q) => (sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN) / 1000
  const { requests, errors } = burst
  process.stdout.write(
    `${JSON.stringify({ requests, errors, seconds: (micros() - start) / 1e6, p50: at(0.5), p99: at(0.99) })}\n`,
  )
}

for await (const line of readline.createInterface({ input: process.stdin })) await run(Number(line))
process.exit(0)
