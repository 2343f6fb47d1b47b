import { describe, expect, it } from 'vitest'
import { pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const base =
  serviceYaml('a', 'http:80') +
  serviceYaml('b', 'http:80') +
  serviceYaml('c', 'http:80', '', 'prod') +
  podYaml('client', 'app: client') +
  podYaml('client', 'app: client', '', 'prod')

const sidecar = (spec: string, name = 's', namespace = 'default') => `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: ${name}, namespace: ${namespace}}
spec: ${spec}
`

const seen = (yaml: string, pod = 'client') =>
  pilotOf(base + yaml)
    .proxy(pod)
    .names.clusters.filter((name) => name.startsWith('outbound|'))
    .map((name) => name.split('|')[3]?.split('.')[0])
    .sort()

describe('a Sidecar', () => {
  it('is not needed: everything is seen', () => {
    expect(seen('')).toEqual(['a', 'b', 'c'])
  })

  it.each([
    ['./*', ['a', 'b']],
    ['prod/*', ['c']],
    ['*/a.default.svc.cluster.local', ['a']],
    ['~/*', []],
  ])('that imports %s sees %j', (hosts, expected) => {
    expect(seen(sidecar(`{egress: [{hosts: ["${hosts}"]}]}`))).toEqual(expected)
  })

  it('with a workloadSelector is for those pods, before one without', () => {
    const yaml =
      sidecar('{egress: [{hosts: ["./*"]}]}', 'all') +
      sidecar('{workloadSelector: {labels: {app: client}}, egress: [{hosts: ["prod/*"]}]}', 'some')
    expect(seen(yaml)).toEqual(['c'])
  })

  it('of the root namespace is for namespaces without one', () => {
    const yaml = sidecar('{egress: [{hosts: ["./*"]}]}', 'root', 'istio-system')
    expect(seen(yaml)).toEqual(['a', 'b'])
    expect(seen(yaml, 'prod/client')).toEqual(['c'])
  })

  it('imports what the routes that it imports need', () => {
    const route = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: c.prod.svc.cluster.local}}]}]}
`
    expect(seen(sidecar('{egress: [{hosts: ["./a.default.svc.cluster.local"]}]}') + route)).toEqual(['a', 'c'])
  })

  it('says what happens to unknown hosts', () => {
    const yaml = sidecar('{egress: [{hosts: ["./*"]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}')
    expect(
      pilotOf(base + yaml)
        .proxy('client')
        .route('80')
        .virtual_hosts.at(-1).name,
    ).toBe('block_all')
  })

  it('makes a listener of its own for an egress port', () => {
    const egress = (port: string) =>
      sidecar(
        `{egress: [{port: ${port}, bind: 127.0.0.1, captureMode: NONE, hosts: ["./a.default.svc.cluster.local"]}]}`,
      )
    const made = pilotOf(base + egress('{number: 80, protocol: HTTP, name: x}')).proxy('client')
    expect(made.names.listeners).toContain('127.0.0.1_80')
    expect(JSON.stringify(made.route('80'))).toContain('outbound|80||a.default.svc.cluster.local')
    const proxy = pilotOf(base + egress('{number: 9999, protocol: HTTP_PROXY, name: x}')).proxy('client')
    expect(proxy.names.listeners).toContain('127.0.0.1_9999')
    expect(JSON.stringify(proxy.route('9999'))).toContain('outbound|80||a.default.svc.cluster.local')
  })
})

describe('exportTo of services', () => {
  it('hides them from other namespaces', () => {
    const hidden = serviceYaml('hidden', 'http:80', '', 'prod').replace(
      'namespace: prod}',
      'namespace: prod, annotations: {networking.istio.io/exportTo: "."}}',
    )
    expect(seen(hidden)).toEqual(['a', 'b', 'c'])
    expect(seen(hidden, 'prod/client')).toContain('hidden')
  })
})
