import { describe, expect, test } from 'vitest'
import {
  decodeWorkload,
  encodeWorkload,
  endpointWorkload,
  workloadMetadata,
} from '../src/proxy/filters/workload-metadata.ts'
import { get, httpFilter, httpHarness, routerFilter, toA } from './support/http.ts'

const { proxy, upstream } = httpHarness()

const me = {
  NAME: 'reviews-1',
  NAMESPACE: 'shop',
  WORKLOAD_NAME: 'reviews',
  CLUSTER_ID: 'Kubernetes',
  LABELS: { app: 'reviews', version: 'v1', 'service.istio.io/canonical-name': 'reviews', other: 'x' },
}

describe('metadata exchange', () => {
  const headers = [{ istio_headers: {} }]
  const exchange = (config: object) =>
    httpFilter('istio.metadata_exchange', 'io.istio.http.peer_metadata.Config', config)

  test('an inbound sidecar takes the peer’s word away from the app, and answers with its own', async () => {
    const a = await upstream('a')
    const filter = exchange({ downstream_discovery: headers, downstream_propagation: headers })
    const p = await proxy({ ...toA(), http_filters: [filter, routerFilter()] }, [a])
    const told = {
      'x-envoy-peer-metadata-id': 'sidecar~1~x~y',
      'x-envoy-peer-metadata': encodeWorkload(workloadMetadata(me, [])),
    }
    const answer = await get(p.http, '/', told)
    expect([...a.last.headers.keys()].filter((n) => n.includes('peer'))).toEqual([])
    expect(answer.headers.get('x-envoy-peer-metadata-id')).toBe('test')
    expect(decodeWorkload(answer.headers.get('x-envoy-peer-metadata')!, [])).toBeDefined()
    const silent = await get(p.http, '/')
    expect([...silent.headers.keys()].filter((n) => n.includes('peer'))).toEqual([])
  })

  test('an outbound sidecar names itself and keeps the answer from its app', async () => {
    const a = await upstream('a', { headers: { 'x-envoy-peer-metadata-id': 'other', 'x-envoy-peer-metadata': 'AA==' } })
    const filter = exchange({ upstream_discovery: headers, upstream_propagation: headers })
    const p = await proxy({ ...toA(), http_filters: [filter, routerFilter()] }, [a])
    const answer = await get(p.http, '/')
    expect(a.last.headers.get('x-envoy-peer-metadata-id')).toBe('test')
    expect([...answer.headers.keys()].filter((n) => n.includes('peer'))).toEqual([])
  })

  test('nothing is told to what is outside the mesh', async () => {
    const a = await upstream('a')
    const filter = exchange({ upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }] })
    const external = { a: { metadata: { filter_metadata: { istio: { external: true } } } } }
    const p = await proxy({ ...toA(), http_filters: [filter, routerFilter()] }, [a], external)
    await get(p.http, '/')
    expect(a.last.headers.has('x-envoy-peer-metadata-id')).toBe(false)
  })

  test('what is told can be read again', () => {
    const own = workloadMetadata(me, ['other'])
    expect(decodeWorkload(encodeWorkload(own), ['other'])).toEqual(own)
    expect(own).toMatchObject({ workloadName: 'reviews', canonicalName: 'reviews', labels: { other: 'x' } })
    expect(decodeWorkload('no base64 of a Struct', [])).toBeUndefined()
    expect(endpointWorkload('reviews;shop;reviews;v1;Kubernetes')).toMatchObject({
      namespace: 'shop',
      clusterId: 'Kubernetes',
    })
    expect(endpointWorkload('')).toBeUndefined()
  })
})

test('gRPC calls are counted by cluster and method', async () => {
  const a = await upstream('a', { headers: { 'content-type': 'application/grpc', 'grpc-status': '5' }, body: '' })
  const stats = httpFilter(
    'envoy.filters.http.grpc_stats',
    'envoy.extensions.filters.http.grpc_stats.v3.FilterConfig',
    {
      stats_for_all_methods: true,
    },
  )
  const p = await proxy({ ...toA(), http_filters: [stats, routerFilter()] }, [a])
  const message = '\0\0\0\0\x02ab\0\0\0\0\x00'
  await get(p.http, '/pkg.Svc/Call', { 'content-type': 'application/grpc' }, 'POST', message)
  expect(p.counter('cluster.a.grpc.pkg.Svc.Call.failure')).toBe(1)
  expect(p.counter('cluster.a.grpc.pkg.Svc.Call.5')).toBe(1)
  expect(p.counter('cluster.a.grpc.pkg.Svc.Call.request_message_count')).toBe(2)
})
