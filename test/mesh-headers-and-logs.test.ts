import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'

describe('what two sidecars make of a request', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1'),
        `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - name: only-this
      match: [{uri: {prefix: /here}}]
      route: [{destination: {host: reviews}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "accessLogFile: /dev/stdout"}
---`,
      ].join(''),
    )
  })
  afterAll(() => mesh?.stop())

  it('headers are added, kept and stripped as Envoy does', async () => {
    const { echo, headers } = await mesh.get('client', 'http://reviews:9080/here', {
      headers: {
        connection: 'x-hop, close',
        'x-hop': 'gone',
        te: 'gzip',
        'keep-alive': 'timeout=5',
        'x-envoy-retry-on': '5xx',
        'x-envoy-internal': 'true',
        'x-forwarded-for': '1.2.3.4',
        'X-Mixed-Case': 'Kept',
      },
    })
    const got = echo!.request.headers
    expect(got).toMatchObject({
      host: 'reviews:9080',
      'x-forwarded-proto': 'http',
      'x-forwarded-for': '1.2.3.4',
      'x-envoy-attempt-count': '1',
      'x-mixed-case': 'Kept',
    })
    expect(got['x-request-id']).toMatch(new RegExp(`^${UUID}$`))
    for (const gone of ['x-hop', 'te', 'keep-alive', 'x-envoy-retry-on', 'x-envoy-internal', 'x-envoy-peer-metadata'])
      expect(got).not.toHaveProperty(gone)
    expect(headers).toMatchObject({ server: 'envoy', 'x-envoy-upstream-service-time': expect.stringMatching(/^\d+$/) })
    expect(headers).not.toHaveProperty('x-envoy-peer-metadata')
  })

  it('a path that no route matches gives 404 NR', async () => {
    const got = await mesh.get('client', 'http://reviews:9080/elsewhere')
    expect([got.status, got.text, got.answer.flags, got.answer.details]).toEqual([404, '', 'NR', 'route_not_found'])
  })

  it("each sidecar writes a line in Istio's default format", async () => {
    await mesh.get('client', 'http://reviews:9080/here?q=1', { headers: { 'user-agent': 'tester' } })
    const outbound = (await mesh.logLines('default', 'client', 1)).find((line) => line.includes('/here?q=1'))
    const inbound = (await mesh.logLines('default', 'reviews-v1', 1)).find((line) => line.includes('/here?q=1'))
    const [clientIp, serverIp] = ['client', 'reviews-v1'].map(
      (name) => mesh.mesh.workloads().find((w) => w.name === name)!.ip,
    )
    const service = mesh.mesh.registry.byHostname('reviews.default.svc.cluster.local')!.get('default')!.address
    const start = String.raw`^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "GET /here\?q=1 HTTP/1\.1" 200 - via_upstream - "-" 0 \d+ \d+ \d+ "-" "tester" "${UUID}" "reviews:9080" "${serverIp}:9080" `
    expect(outbound).toMatch(
      new RegExp(
        String.raw`${start}outbound\|9080\|\|reviews\.default\.svc\.cluster\.local ${clientIp}:\d+ ${service}:9080 ${clientIp}:\d+ - only-this$`,
      ),
    )
    expect(inbound).toMatch(
      new RegExp(
        String.raw`${start}inbound\|9080\|\| 127\.0\.0\.6:\d+ ${serverIp}:9080 ${clientIp}:\d+ outbound_\.9080_\._\.reviews\.default\.svc\.cluster\.local default$`,
      ),
    )
  })
})
