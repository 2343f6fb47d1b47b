import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

const URL = 'http://reviews:9080/'

const routes = (http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}], ${http}}]}
---`

/** Lets requests bring their faults along, as istiod does not by itself. */
const BY_HEADERS = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: faults-by-headers}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_OUTBOUND
      listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.fault}}}}
    patch:
      operation: MERGE
      value:
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
          abort: {header_abort: {}, percentage: {numerator: 100}}
          delay: {header_delay: {}, percentage: {numerator: 100}}
---`

describe('faults of a VirtualService', () => {
  let mesh: TestMesh
  afterEach(() => mesh?.close())
  const start = async (...more: string[]) => {
    mesh = await startMesh([client(), service('reviews'), pod('reviews', 'v1'), ...more].join(''))
  }
  /** The clock is moved once the request waits in the fault filter. */
  const withClockMoved = async (time: string, asked: ReturnType<TestMesh['call']>) => {
    await expect.poll(() => mesh.stats('client', /fault\.active_faults$/)).toMatchObject({ [ACTIVE]: 1 })
    await mesh.clock.advance(time)
    return asked
  }
  const ACTIVE = 'http.outbound_0.0.0.0_9080;.fault.active_faults'

  it('abort as many requests as percentage says, with 503 and FI', async () => {
    await start(routes('fault: {abort: {httpStatus: 503, percentage: {value: 30}}}'))
    const { v1 = 0, 503: aborted = 0 } = await mesh.split('client', URL, 300)
    expect(v1 + aborted).toBe(300)
    expect(Math.abs(aborted - 90)).toBeLessThan(40)
    expect(mesh.stats('client', 'http.outbound_0.0.0.0_9080.fault.aborts_injected')).toBe(aborted)
  })

  it('hold a request back by the deprecated percent too', async () => {
    await start(routes('fault: {delay: {fixedDelay: 7s, percent: 100}}'))
    const { status, flags } = await withClockMoved('7s', mesh.call('client', URL))
    expect([status, flags]).toEqual([200, ['DI']])
  })

  it('hold a request back, and then abort it', async () => {
    const all = 'percentage: {value: 100}'
    await start(routes(`fault: {delay: {fixedDelay: 7s, ${all}}, abort: {httpStatus: 418, ${all}}}`))
    const { status, flags, attempts } = await withClockMoved('7s', mesh.call('client', URL))
    expect([status, flags, attempts]).toEqual([418, ['DI', 'FI'], 0])
  })

  it('abort with a gRPC status', async () => {
    await start(routes('fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}'))
    const headers = { 'content-type': 'application/grpc' }
    const answer = await mesh.call('client', URL, { method: 'POST', headers })
    expect([answer.status, answer.headers['grpc-status'], answer.flags]).toEqual([200, '14', ['FI']])
  })

  it('may come with the request, where an EnvoyFilter allows it', async () => {
    await start(BY_HEADERS)
    const call = (headers: Record<string, string>) => mesh.call('client', URL, { headers })
    expect((await call({})).status).toBe(200)
    const aborted = await call({ 'x-envoy-fault-abort-request': '418' })
    expect([aborted.status, aborted.flags]).toEqual([418, ['FI']])
    const spared = { 'x-envoy-fault-abort-request': '418', 'x-envoy-fault-abort-request-percentage': '0' }
    expect((await call(spared)).status).toBe(200)
    const delayed = await withClockMoved('4s', call({ 'x-envoy-fault-delay-request': '4000' }))
    expect([delayed.status, delayed.flags]).toEqual([200, ['DI']])
  })
})
