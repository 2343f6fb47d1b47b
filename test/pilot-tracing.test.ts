import { describe, expect, it } from 'vitest'
import { type Json, managerOf, pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

function tracingOf(mesh: string, env: Record<string, string> = {}): Json {
  const yaml = `${serviceYaml('a', 'http:80')}${podYaml('client', 'app: client')}---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
${mesh.replace(/^/gm, '    ')}
`
  return managerOf(pilotOf(yaml, { env }).proxy('client').listener('0.0.0.0_80').filter_chains[0]).tracing
}

const provider = (settings: string) => `defaultProviders: {tracing: [p]}\nextensionProviders: [{name: p, ${settings}}]`
const at = 'service: a.default.svc.cluster.local, port: 80'

describe('tracing', () => {
  it('is off when the mesh says so', () => {
    expect(tracingOf('enableTracing: false')).toBeUndefined()
  })

  it('samples one in a hundred, or as told', () => {
    expect(tracingOf('enableTracing: true').random_sampling).toEqual({ value: 1 })
    expect(tracingOf('enableTracing: true', { PILOT_TRACE_SAMPLING: '50' }).random_sampling).toEqual({ value: 50 })
    expect(tracingOf('defaultConfig: {tracing: {sampling: 10}}').random_sampling).toEqual({ value: 10 })
  })

  it('names the workload in each span, and what the mesh adds', () => {
    const tags = tracingOf('defaultConfig: {tracing: {customTags: {a: {literal: {value: b}}}}}').custom_tags
    expect(tags).toEqual(
      expect.arrayContaining([
        { tag: 'a', literal: { value: 'b' } },
        { tag: 'istio.canonical_service', literal: { value: 'client' } },
        { tag: 'istio.namespace', literal: { value: 'default' } },
      ]),
    )
  })

  it('reports to Zipkin', () => {
    const mesh = provider(`zipkin: {${at}, headers: [{name: x, envName: TOKEN}]}`)
    expect(tracingOf(mesh, { TOKEN: 'secret' }).provider).toMatchObject({
      name: 'envoy.tracers.zipkin',
      typed_config: {
        trace_id_128bit: true,
        shared_span_context: false,
        collector_endpoint_version: 'HTTP_JSON',
        collector_service: {
          http_uri: {
            uri: 'http://a.default.svc.cluster.local/api/v2/spans',
            cluster: 'outbound|80||a.default.svc.cluster.local',
            timeout: '5s',
          },
          request_headers_to_add: [
            { header: { key: 'x', value: 'secret' }, append_action: 'OVERWRITE_IF_EXISTS_OR_ADD' },
          ],
        },
      },
    })
  })

  it('reports to OpenTelemetry', () => {
    expect(tracingOf(provider(`opentelemetry: {${at}}`)).provider).toMatchObject({
      name: 'envoy.tracers.opentelemetry',
      typed_config: { grpc_service: { envoy_grpc: { cluster_name: 'outbound|80||a.default.svc.cluster.local' } } },
    })
  })

  it('does not report to a service that nobody knows', () => {
    expect(tracingOf(provider('zipkin: {service: nowhere.example, port: 80}'))).toBeUndefined()
  })
})
