import { describe, expect, it } from 'vitest'
import { pilotOf, podYaml, serviceYaml, type TestPilot } from './support/pilot.ts'

const entry = (spec: string, name = 'ext') => `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}}
spec:
${spec.replace(/^/gm, '  ')}
`

const hosts = (test: TestPilot) =>
  Object.fromEntries(
    test.registry.services.map((service) => [
      service.hostname,
      {
        resolution: service.resolution,
        address: service.address,
        external: service.meshExternal,
        endpoints: test.registry.endpoints(service).map(({ address, port }) => `${address}:${port}`),
      },
    ]),
  )

describe('a ServiceEntry', () => {
  it('of resolution DNS without endpoints resolves its own host', () => {
    const made = hosts(
      pilotOf(entry('hosts: [api.example.com]\nports: [{number: 443, name: tls, protocol: TLS}]\nresolution: DNS')),
    )
    expect(made['api.example.com']).toMatchObject({
      resolution: 'DNS',
      external: true,
      endpoints: ['api.example.com:443'],
    })
  })

  it('of resolution STATIC has the endpoints that it lists, with ports by name', () => {
    const made = hosts(
      pilotOf(
        entry(`hosts: [api.example.com]
location: MESH_INTERNAL
ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
resolution: STATIC
endpoints: [{address: 192.0.2.1}, {address: 192.0.2.2, ports: {http: 9090}}]`),
      ),
    )
    expect(made['api.example.com']).toMatchObject({
      resolution: 'EDS',
      external: false,
      endpoints: ['192.0.2.1:8080', '192.0.2.2:9090'],
    })
  })

  it('of resolution NONE goes where the connection went', () => {
    const made = hosts(pilotOf(entry('hosts: ["*.example.com"]\nports: [{number: 80, name: http, protocol: HTTP}]')))
    expect(made['*.example.com']).toMatchObject({ resolution: 'PASSTHROUGH', endpoints: [] })
  })

  it('is a service per host and address', () => {
    const made = pilotOf(
      entry(`hosts: [a.example.com, b.example.com]
addresses: [192.0.2.10]
ports: [{number: 80, name: http, protocol: HTTP}]
resolution: STATIC
endpoints: [{address: 192.0.2.1}]`),
    ).registry.services
    expect(made.map((service) => [service.hostname, service.address])).toEqual([
      ['a.example.com', '192.0.2.10'],
      ['b.example.com', '192.0.2.10'],
    ])
  })

  it('without addresses is given a virtual one, unless its host has a wildcard or it resolves nothing', () => {
    const ports = 'ports: [{number: 80, name: http, protocol: HTTP}]'
    const { registry } = pilotOf(
      entry(
        `hosts: [a.example.com, "*.example.com"]\n${ports}\nresolution: STATIC\nendpoints: [{address: 192.0.2.1}]`,
      ) + entry(`hosts: [none.example.com]\n${ports}\nresolution: NONE`, 'none'),
    )
    const auto = Object.fromEntries(registry.services.map((service) => [service.hostname, service.autoAddress]))
    expect(auto['a.example.com']).toMatch(/^240\.240\./)
    expect(auto['*.example.com']).toBe('')
    expect(auto['none.example.com']).toBe('')
  })

  it('with a workloadSelector has the pods and WorkloadEntries that fit', () => {
    const made = hosts(
      pilotOf(
        `${entry(`hosts: [vm.example.com]
location: MESH_INTERNAL
ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
resolution: STATIC
workloadSelector: {labels: {app: vm}}`)}---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm-1}
spec: {address: 192.0.2.7, labels: {app: vm}}
${podYaml('p', 'app: vm')}status: {podIP: 10.244.3.9}
${podYaml('q', 'app: other')}`,
      ),
    )
    expect(made['vm.example.com']?.endpoints.sort()).toEqual(['10.244.3.9:8080', '192.0.2.7:8080'])
  })

  it('beside a Service of the same host adds its endpoints to it', () => {
    const made = pilotOf(
      serviceYaml('a', 'http:80') +
        podYaml('p', 'app: a') +
        entry(
          'hosts: [a.default.svc.cluster.local]\nports: [{number: 80, name: http, protocol: HTTP}]\nresolution: STATIC\nendpoints: [{address: 192.0.2.1}]',
        ),
    ).proxy('p')
    const endpoints = made.endpoints('outbound|80||a.default.svc.cluster.local')
    expect(JSON.stringify(endpoints)).toContain('192.0.2.1')
    expect(made.names.clusters.filter((name) => name.includes('a.default'))).toHaveLength(1)
  })
})

describe('a WorkloadEntry', () => {
  it('stands behind a Service whose selector fits it', () => {
    const made = hosts(
      pilotOf(`${serviceYaml('a', 'http:80>8080')}---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm-1}
spec: {address: 192.0.2.7, labels: {app: a}, serviceAccount: vm, weight: 3, locality: eu/eu-1}
`),
    )
    expect(made['a.default.svc.cluster.local']?.endpoints).toEqual(['192.0.2.7:8080'])
  })
})
