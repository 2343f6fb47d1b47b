import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import { type Identity, makeAuthority } from './certificates.ts'
import type { TestMesh } from './mesh.ts'

/** What came back on a raw connection. */
export interface Raw {
  /** The status of each answer, in order. */
  readonly statuses: readonly number[]
  /** Everything as text. */
  readonly text: string
  /** `open` while the server keeps the connection, `closed`, or the code of an error. */
  readonly end: string
}

/** How to send bytes. */
export interface RawOptions {
  /** With it, over TLS. */
  readonly tls?: tls.ConnectionOptions
  /** The answers that are waited for before the connection is looked at. Default 1. */
  readonly answers?: number
}

/** Splits `host:port`. */
export function hostPort(at: string): { host: string; port: number } {
  const colon = at.lastIndexOf(':')
  return { host: at.slice(0, colon), port: Number(at.slice(colon + 1)) }
}

/** Where a pod's port is reached from outside, past its clients' sidecars. */
export function inboundOf(mesh: TestMesh, pod: string, port = 9080): { host: string; port: number } {
  return hostPort(mesh.mesh.workloads().find((w) => w.name === pod)!.inbound[port]!)
}

/** Where a program of a pod connects to reach a service's port: through its own sidecar. */
export function outboundOf(mesh: TestMesh, pod: string, port: number): { host: string; port: number } {
  const { outbound } = mesh.mesh.workloads().find((w) => w.name === pod)!
  const [, at] = Object.entries(outbound).find(([to]) => to.endsWith(`:${port}`)) ?? []
  if (!at) throw new Error(`${pod} reaches nothing on ${port}: ${JSON.stringify(outbound)}`)
  return hostPort(at)
}

const STATUS = /HTTP\/1\.[01] (\d{3}) /g

/**
 * Sends bytes as they are. Resolves when the connection has ended, or `answers` answers have come and the server has
 * answered what was sent behind them with nothing for a moment.
 */
export async function sendRaw(
  to: { host: string; port: number },
  bytes: string | Buffer,
  { tls: secure, answers = 1 }: RawOptions = {},
): Promise<Raw> {
  const socket = secure ? tls.connect({ ...to, rejectUnauthorized: false, ...secure }) : net.connect(to)
  let text = ''
  let end = 'open'
  const done = new Promise<void>((resolve) => {
    let timer: NodeJS.Timeout | undefined
    socket.on('data', (data) => {
      text += data.toString('latin1')
      clearTimeout(timer)
      if (count(text) >= answers) timer = setTimeout(resolve, 30)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      end = error.code ?? error.message
      resolve()
    })
    socket.once('close', () => {
      if (end === 'open') end = 'closed'
      resolve()
    })
    socket.setTimeout(5_000, () => {
      end = 'silent'
      resolve()
    })
  })
  socket.once(secure ? 'secureConnect' : 'connect', () =>
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes),
  )
  await done
  socket.destroy()
  return { statuses: [...text.matchAll(STATUS)].map((match) => Number(match[1])), text, end }
}

function count(text: string): number {
  return text.match(STATUS)?.length ?? 0
}

/** A request without a body, as bytes. */
export function head(target: string, host = 'reviews:9080', lines: readonly string[] = [], method = 'GET'): string {
  return `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`
}

/** An authority of the test, in a folder that a mesh takes for the one it has kept: so any certificate can be made. */
export async function keptAuthority(): Promise<{ authority: Identity; dataDir: string; remove(): void }> {
  const authority = await makeAuthority('O=cluster.local')
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-authority-'))
  fs.writeFileSync(path.join(dataDir, 'ca-cert.pem'), authority.cert, { mode: 0o600 })
  fs.writeFileSync(path.join(dataDir, 'ca-key.pem'), authority.key, { mode: 0o600 })
  return { authority, dataDir, remove: () => fs.rmSync(dataDir, { recursive: true, force: true }) }
}

/** What an app of a test got to see of each request. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly rawHeaders: readonly string[]
  readonly body: string
}

/** A lenient app on a port of its own that keeps what it got. */
export interface Recorder {
  readonly annotation: string
  readonly seen: Seen[]
  close(): Promise<void>
}

/** Starts such an app for port 9080 of a pod. Answers 200 with the path. */
export async function recordingApp(): Promise<Recorder> {
  const seen: Seen[] = []
  const server = http.createServer({ insecureHTTPParser: true, maxHeaderSize: 131_072 }, (request, response) => {
    let body = ''
    request.on('data', (data: Buffer) => {
      body += data.toString('latin1')
    })
    request.on('end', () => {
      const { method = '', url = '', headers, rawHeaders } = request
      seen.push({ method, url, headers, rawHeaders, body })
      response.end(url)
    })
  })
  server.on('upgrade', (request, socket) => {
    const { method = '', url = '', headers, rawHeaders } = request
    seen.push({ method, url, headers, rawHeaders, body: 'upgrade' })
    socket.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  return {
    annotation: `dinghy.dev/app: "9080=127.0.0.1:${port}"`,
    seen,
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
