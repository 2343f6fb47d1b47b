import { X509Certificate } from 'node:crypto'
import http from 'node:http'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { EchoClient, type GrpcApp, startGrpcApp } from './support/grpc.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const ROTATIONS = 1000

let mesh: TestMesh
let app: GrpcApp

const rule = (host: string, settings: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${host}}
spec:
  host: ${host}
  trafficPolicy: {connectionPool: {http: {${settings}}}}
---`

const at = (yaml: string, ip: string) => yaml.replace('spec:', `spec:\n  clusterIP: ${ip}`)

// Nothing is tried twice: a request that is lost, is lost.
const NO_RETRIES = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultHttpRetryPolicy: {attempts: 0}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---`

beforeAll(async () => {
  app = await startGrpcApp({ unary: (call, done) => done(null, call.request) })
  mesh = await startMesh(
    [
      NO_RETRIES,
      client(),
      at(service('fresh'), '10.96.7.1'),
      // A connection, and so a handshake, for every request.
      rule('fresh', 'maxRequestsPerConnection: 1'),
      at(service('kept'), '10.96.7.2'),
      at(service('echo', 'default', { name: 'grpc', port: 9090 }), '10.96.7.3'),
      rule('echo', 'maxRequestsPerConnection: 20'),
      // One pod is behind all of them.
      pod('server', 'v1', { annotations: app.annotation.replace('9080=', '9090=') }),
    ]
      .join('')
      .replaceAll(/selector: {app: \w+}/g, 'selector: {app: server}'),
  )
})
afterAll(async () => {
  await mesh?.stop()
  app?.close()
})

const admin = (workload: string) => mesh.mesh.workloads().find((w) => w.name === workload)!.admin
async function stats(workload: string, filter: string): Promise<Record<string, number>> {
  const text = await (await fetch(`http://${admin(workload)}/stats?filter=${filter}`)).text()
  return Object.fromEntries(
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(': ') as [string, string])
      .map(([name, value]) => [name, Number(value)]),
  )
}
const sum = (all: Record<string, number>) => Object.values(all).reduce((a, b) => a + b, 0)

/** The serial number of the certificate that a sidecar shows. */
async function shown(workload: string): Promise<string> {
  const { certificates } = (await (await fetch(`http://${admin(workload)}/certs`)).json()) as {
    certificates: { cert_chain: { serial_number: string }[] }[]
  }
  return certificates.find(({ cert_chain }) => cert_chain.length > 0)!.cert_chain[0]!.serial_number
}

/** Heap and native memory after a collection, in bytes. */
function memory(): { heap: number; rss: number } {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
  gc()
  const { heapUsed, rss } = process.memoryUsage()
  return { heap: heapUsed, rss }
}

it(`${ROTATIONS} rotations under load lose no request, over HTTP/1 and gRPC, on new and on kept connections`, async () => {
  const outcomes: Record<string, number> = {}
  const done: Record<string, number> = {}
  const note = (outcome: string) => {
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    const [kind = ''] = outcome.split(' ')
    done[kind] = (done[kind] ?? 0) + 1
  }
  let running = true
  const agent = new http.Agent({ keepAlive: true })
  const get = (host: string, port: number, name: string) =>
    new Promise<string>((resolve) => {
      const request = http.get({ host, port, agent, headers: { host: `${name}:9080` } }, (response) => {
        response.resume()
        response.on('end', () => resolve(`${name} ${response.statusCode}`))
      })
      request.on('error', (error) => resolve(`${name} ${error.message}`))
    })
  const loop = async (one: () => Promise<string>) => {
    while (running) note(await one())
  }
  const [fresh, kept, grpc] = await Promise.all(
    [1, 2, 3].map((n) => mesh.mesh.captureOf('client', `10.96.7.${n}`, n === 3 ? 9090 : 9080)),
  )
  const echo = new EchoClient(grpc!, 'echo:9090')
  const call = async () => {
    const { code, messages } = await echo.unary('again')
    return `echo ${code} ${messages}`
  }
  await Promise.all([get(fresh!.host, fresh!.port, 'fresh'), get(kept!.host, kept!.port, 'kept'), call()])

  const { ca } = mesh.mesh
  const serials = new Set<string>()
  const before = await shown('client')
  const loads = [
    loop(() => get(fresh!.host, fresh!.port, 'fresh')),
    loop(() => get(fresh!.host, fresh!.port, 'fresh')),
    loop(() => get(kept!.host, kept!.port, 'kept')),
    loop(call),
  ]
  const progress = async () => {
    const known = { ...done }
    while (['fresh', 'kept', 'echo'].some((kind) => (done[kind] ?? 0) === (known[kind] ?? 0)))
      await new Promise((resolve) => setImmediate(resolve))
  }
  let warm = memory()
  for (let i = 0; i < ROTATIONS; i++) {
    await ca.rotate()
    // Again and again, at least one more request of each kind has to have come through.
    if (i % 4 === 0) await progress()
    if (i % 100 === 99) serials.add(await shown('client'))
    if (i === ROTATIONS / 2) warm = memory()
  }
  running = false
  await Promise.all(loads)
  echo.close()
  agent.destroy()
  const after = memory()

  // Not one failed, and each kind was really there, all the time.
  expect(Object.keys(outcomes).sort()).toEqual(['echo 0 again', 'fresh 200', 'kept 200'])
  expect(outcomes['fresh 200']).toBeGreaterThan(ROTATIONS / 4)
  expect(outcomes['kept 200']).toBeGreaterThan(ROTATIONS / 4)
  expect(outcomes['echo 0 again']).toBeGreaterThan(ROTATIONS / 4)

  // Every rotation reached both sides.
  expect(serials.size).toBe(ROTATIONS / 100)
  expect(serials.has(before)).toBe(false)
  const updates = await stats(
    'client',
    'cluster.outbound.9080..fresh.*client_ssl_socket_factory.ssl_context_update_by_sds',
  )
  expect(sum(updates)).toBeGreaterThanOrEqual(ROTATIONS)
  const handshakes = await stats('client', 'cluster.outbound.9080..fresh.default.*ssl.handshake')
  expect(sum(handshakes)).toBeGreaterThan(ROTATIONS / 4)
  // Kept connections were kept.
  expect(sum(await stats('client', 'cluster.outbound.9080..kept.*upstream_cx_total'))).toBe(1)
  for (const name of ['client', 'server-v1']) {
    expect(
      sum(
        await stats(name, '(fail_verify|ssl.connection_error|not_ready|upstream_cx_connect_fail|upstream_rq_retry$)'),
      ),
    ).toBe(0)
    expect(new X509Certificate(ca.rootPem).subject).toBe('O=cluster.local')
  }

  // And nothing stays behind of the certificates that were.
  expect(after.heap - warm.heap).toBeLessThan(20e6)
  expect(after.rss - warm.rss).toBeLessThan(100e6)
}, 120_000)
