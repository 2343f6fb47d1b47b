import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

let mesh: TestMesh
let server: http2.Http2Server
let plain: http.Server
let either: net.Server
const sessions = new Set<http2.ServerHttp2Session>()
/** Versions of HTTP that the apps were asked by. */
let versions: string[] = []
let hold: http2.ServerHttp2Stream[] | undefined
/** A body to answer with, its length told. */
let bytes: Buffer | undefined

const admin = (workload: string) => mesh.mesh.workloads().find((w) => w.name === workload)!.admin
async function stat(workload: string, name: string): Promise<number> {
  const text = await (await fetch(`http://${admin(workload)}/stats?filter=${name}`)).text()
  return text
    .split('\n')
    .map((line) => Number(line.split(': ')[1]))
    .filter((n) => Number.isFinite(n))
    .reduce((sum, n) => sum + n, 0)
}

beforeAll(async () => {
  server = http2.createServer()
  server.on('session', (session) => sessions.add(session))
  server.on('stream', (stream) => {
    versions.push('2')
    stream.on('error', () => {})
    const answer = (s: http2.ServerHttp2Stream) => {
      if (bytes !== undefined) {
        s.respond({ ':status': 200, 'content-length': bytes.length })
        s.write(bytes, () => setTimeout(() => s.end(), 5))
        return
      }
      s.respond({ ':status': 200 })
      s.end('two')
    }
    if (hold === undefined) answer(stream)
    else {
      hold.push(stream)
      if (hold.length === 4) for (const s of hold) answer(s)
    }
  })
  plain = http.createServer((request, response) => {
    versions.push(request.httpVersion)
    response.end('one')
  })
  // By the first byte: P of the preface, or of no method that is used here.
  either = net.createServer((socket) => {
    socket.once('data', (data) => {
      socket.pause()
      socket.unshift(data)
      ;(data[0] === 0x50 ? server : plain).emit('connection', socket)
      process.nextTick(() => socket.resume())
    })
  })
  const all = [server as unknown as net.Server, plain, either]
  for (const s of all) s.listen(0, '127.0.0.1')
  await Promise.all(all.map((s) => once(s, 'listening')))
  const at = (s: unknown) => `dinghy.dev/app: "9080=127.0.0.1:${((s as net.Server).address() as net.AddressInfo).port}"`
  mesh = await startMesh(
    {
      'base.yaml': [
        client(),
        service('two', 'default', { name: 'http2', port: 9080 }),
        pod('two', 'v1', { annotations: at(server) }),
        service('one', 'default', { name: 'http', port: 9080 }),
        pod('one', 'v1', { annotations: at(plain) }),
        service('any', 'default', { name: 'http', port: 9080 }),
        pod('any', 'v1', { annotations: at(either) }),
      ].join(''),
      'rules.yaml': '',
    },
    { watch: true },
  )
})
afterAll(async () => {
  await mesh?.stop()
  for (const session of sessions) session.destroy()
  server?.close()
  plain?.close()
  either?.close()
})
beforeEach(() => {
  versions = []
  hold = undefined
  bytes = undefined
})

const rule = (host: string, http: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${host}}
spec:
  host: ${host}
  trafficPolicy: {connectionPool: {http: {${http}}}}
`

it('a port named http2 is spoken to by HTTP/2 all the way, whatever the client speaks', async () => {
  const got = await mesh.get('client', 'http://two:9080/')
  expect([got.status, got.text, versions]).toEqual([200, 'two', ['2']])
  expect(await stat('client', 'two.*upstream_cx_http2_total')).toBe(1)
  expect(await stat('client', 'two.*ssl.handshake')).toBe(1)
})

it('a client of HTTP/1 may hang up with the last byte, before the stream of HTTP/2 has ended', async () => {
  // The server ends its streams in a frame of its own, well after the body.
  bytes = Buffer.from('all of it')
  const got = await mesh.get('client', 'http://two:9080/')
  expect([got.status, got.text]).toEqual([200, 'all of it'])
  expect(got.answer).toMatchObject({ by: 'two-v1', flags: '-', details: 'via_upstream' })
})

it('h2UpgradePolicy UPGRADE puts HTTP/2 between the sidecars, the app still gets HTTP/1.1', async () => {
  expect((await mesh.get('client', 'http://one:9080/')).text).toBe('one')
  expect(await stat('client', 'one.*upstream_cx_http2_total')).toBe(0)
  await mesh.write('rules.yaml', rule('one', 'h2UpgradePolicy: UPGRADE'))
  expect((await mesh.get('client', 'http://one:9080/')).text).toBe('one')
  expect(await stat('client', 'one.*upstream_cx_http2_total')).toBe(1)
  expect(await stat('one-v1', '^http.inbound_.*downstream_rq_http2_total')).toBe(1)
  expect(versions).toEqual(['1.1', '1.1'])
})

it('useClientProtocol keeps what the client speaks', async () => {
  await mesh.write('rules.yaml', rule('any', 'useClientProtocol: true'))
  const before = await stat('client', 'any.*upstream_cx_http2_total')
  expect((await mesh.get('client', 'http://any:9080/')).text).toBe('one')
  expect(await stat('client', 'any.*upstream_cx_http2_total')).toBe(before)
  const address = mesh.mesh.registry.byHostname('any.default.svc.cluster.local')!.get('default')!.address
  const { host, port } = await mesh.mesh.captureOf('client', address, 9080)
  const session = http2.connect(`http://${host}:${port}`)
  const stream = session.request({ ':path': '/', ':authority': 'any:9080' })
  const [head] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  session.destroy()
  expect(head[':status']).toBe(200)
  expect(await stat('client', 'any.*upstream_cx_http2_total')).toBe(before + 1)
})

it('maxConcurrentStreams opens further connections', async () => {
  await mesh.write('rules.yaml', rule('two', 'maxConcurrentStreams: 2'))
  const before = await stat('client', 'two.*upstream_cx_http2_total')
  hold = []
  await Promise.all([1, 2, 3, 4].map(() => mesh.get('client', 'http://two:9080/')))
  expect(await stat('client', 'two.*upstream_cx_http2_total')).toBe(before + 2)
})

it('http2KeepAlive sends PINGs', async () => {
  await mesh.write('rules.yaml', rule('two', 'http2KeepAlive: {interval: 1s, timeout: 1s}'))
  const dump = await (await fetch(`http://${admin('client')}/config_dump?include_eds`)).text()
  expect(dump).toMatch(/"connection_keepalive": \{\s+"interval": "1s",\s+"timeout": "1s"/)
  expect((await mesh.get('client', 'http://two:9080/')).text).toBe('two')
  expect(mesh.events.filter((e) => e.type === 'problems')).toEqual([])
})
