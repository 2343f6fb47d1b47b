import { Metadata, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { EchoClient, type GrpcApp, startGrpcApp } from './support/grpc.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

let mesh: TestMesh
let app: GrpcApp
let echo: EchoClient
/** Headers of the calls that the server saw, and how it answers the next ones. */
const seen: Record<string, unknown>[] = []
let failures: number[] = []

beforeAll(async () => {
  app = await startGrpcApp({
    unary(call, done) {
      seen.push(call.metadata.getMap())
      const code = failures.shift()
      if (code !== undefined) {
        done({ code, details: 'not now' })
        return
      }
      if (call.request === 'hang') return
      const trailer = new Metadata()
      trailer.set('x-trailer', 'yes')
      done(null, call.request.toUpperCase(), trailer)
    },
    serverStream(call) {
      for (let i = 0; i < 3; i++) call.write(`${call.request} ${i}`)
      call.end()
    },
    clientStream(call, done) {
      let length = 0
      call.on('data', (message: string) => {
        length += message.length
      })
      call.on('end', () => done(null, String(length)))
    },
    bidi(call) {
      call.on('data', (message: string) => call.write(`re: ${message}`))
      call.on('end', () => call.end())
    },
  })
  const yaml = [
    client(),
    service('echo', 'default', { name: 'grpc', port: 9080 }).replace('spec:', 'spec:\n  clusterIP: 10.96.7.7'),
    pod('echo', 'v1', { annotations: app.annotation }),
  ].join('')
  mesh = await startMesh({ 'base.yaml': yaml, 'rules.yaml': '' }, { watch: true })
  echo = new EchoClient(await mesh.mesh.captureOf('client', '10.96.7.7', 9080), 'echo:9080')
})
afterAll(async () => {
  echo?.close()
  await mesh?.stop()
  app?.close()
})
beforeEach(() => {
  seen.length = 0
  failures = []
})

const admin = (workload: string) => mesh.mesh.workloads().find((w) => w.name === workload)!.admin
const stats = async (workload: string, filter: string) =>
  Object.fromEntries(
    (await (await fetch(`http://${admin(workload)}/stats?filter=${filter}`)).text())
      .trim()
      .split('\n')
      .map((line): [string, number] => [line.split(': ')[0]!, Number(line.split(': ')[1])]),
  )

it('a call goes through two sidecars with mutual TLS, its trailers come back', async () => {
  const got = await echo.unary('hello', { 'x-a': '1' })
  expect(got).toEqual({ code: status.OK, message: 'OK', messages: ['HELLO'], trailers: { 'x-trailer': 'yes' } })
  expect(seen[0]).toMatchObject({ 'x-a': '1', 'x-forwarded-proto': 'http' })
  expect(String(seen[0]!['x-forwarded-client-cert'])).toContain('URI=spiffe://cluster.local/ns/default/sa/client')
  const upstream = await stats('client', 'echo.*(http2_total|ssl.handshake)')
  expect(Object.values(upstream)).toEqual([1, 1])
  const inbound = await stats('echo-v1', '^http.inbound_0.0.0.0_9080.*downstream_rq_http2_total')
  expect(Object.values(inbound)).toEqual([1])
})

it('streams run each way, and both ways at once', async () => {
  expect((await echo.serverStream('n')).messages).toEqual(['n 0', 'n 1', 'n 2'])
  const big = 'x'.repeat(300_000)
  expect((await echo.clientStream([big, big, 'abc'])).messages).toEqual([String(2 * big.length + 3)])
  expect((await echo.bidi(['a', 'b', 'c'])).messages).toEqual(['re: a', 're: b', 're: c'])
})

it('a status is retried where the policy names it', async () => {
  failures = [status.UNAVAILABLE, status.UNAVAILABLE]
  await mesh.write(
    'rules.yaml',
    `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http: [{route: [{destination: {host: echo}}], retries: {attempts: 3, retryOn: unavailable, backoff: 1ms}}]
`,
  )
  const got = await echo.unary('again')
  expect([got.code, got.messages, seen.length]).toEqual([status.OK, ['AGAIN'], 3])
  failures = [status.ABORTED]
  expect(await echo.unary('no')).toMatchObject({ code: status.ABORTED, message: 'not now' })
  await mesh.write('rules.yaml', '')
})

it('what the proxy answers by itself is a gRPC status', async () => {
  const rules = (http: string) =>
    `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: echo}\nspec: {hosts: [echo], http: [${http}]}\n`
  await mesh.write('rules.yaml', rules('{timeout: 200ms, route: [{destination: {host: echo}}]}'))
  expect(await echo.unary('hang')).toMatchObject({ code: status.UNAVAILABLE, message: 'upstream request timeout' })
  await mesh.write(
    'rules.yaml',
    rules('{fault: {abort: {grpcStatus: NOT_FOUND, percentage: {value: 100}}}, route: [{destination: {host: echo}}]}'),
  )
  expect(await echo.unary('x')).toMatchObject({ code: status.NOT_FOUND, message: 'fault filter abort' })
  await mesh.write('rules.yaml', '')
})

it('the deadline of the client reaches the server, and cancels its call', async () => {
  expect((await echo.unary('hang', {}, 150)).code).toBe(status.DEADLINE_EXCEEDED)
})
