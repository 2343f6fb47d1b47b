import { describe, expect, it } from 'vitest'
import { pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const hostOf = (name: string, namespace = 'default') => `${name}.${namespace}.svc.cluster.local`

function endpointsOf(yaml: string, hostname: string) {
  const { registry } = pilotOf(yaml)
  const service = registry.services.find((known) => known.hostname === hostname)
  if (!service) throw new Error(`no ${hostname}`)
  return registry.endpoints(service).map(({ address, port, servicePortName, health }) => ({
    at: `${address}:${port}`,
    servicePortName,
    health,
  }))
}

const ip = (address: string) => `status: {podIP: ${address}}\n`

describe('services', () => {
  it('get an address when none is given, and keep one that is', () => {
    const { registry } = pilotOf(serviceYaml('a', 'http:80') + serviceYaml('b', 'http:80', 'clusterIP: 10.96.1.1'))
    const [a, b] = registry.services
    expect(a?.address).toMatch(/^10\.96\./)
    expect(a?.address).not.toBe('10.96.1.1')
    expect(b?.address).toBe('10.96.1.1')
  })

  it('without cluster IP have none', () => {
    const { registry } = pilotOf(serviceYaml('a', 'http:80', 'clusterIP: None'))
    expect(registry.services[0]).toMatchObject({ address: '0.0.0.0', resolution: 'PASSTHROUGH' })
  })

  it.each([
    ['http:80', 'HTTP'],
    ['http-web:81', 'HTTP'],
    ['http2:80', 'HTTP2'],
    ['grpc-api:80', 'GRPC'],
    ['grpc-web:80', 'GRPC-Web'],
    ['tcp:80', 'TCP'],
    ['tcp-db:3306', 'TCP'],
    ['https:443', 'HTTPS'],
    ['tls-x:443', 'TLS'],
    ['mongo:27017', 'Mongo'],
    ['foo:80', 'AUTO'],
    [':80', 'AUTO'],
    ['httpx:80', 'AUTO'],
  ])('port %s speaks %s', (ports, protocol) => {
    expect(pilotOf(serviceYaml('a', ports)).registry.services[0]?.ports[0]?.protocol).toBe(protocol)
  })

  it.each([
    ['{name: tcp-x, port: 80, appProtocol: http}', 'HTTP'],
    ['{name: x, port: 80, appProtocol: kubernetes.io/h2c}', 'HTTP2'],
    ['{name: x, port: 80, appProtocol: kubernetes.io/ws}', 'HTTP'],
    ['{name: http, port: 53, protocol: UDP}', 'UDP'],
    ['{name: http, port: 80, appProtocol: mine.example/own}', 'AUTO'],
  ])('port %s speaks %s', (port, protocol) => {
    const yaml = serviceYaml('a', 'x:1').replace(/ports: \[.*\]/, `ports: [${port}]`)
    expect(pilotOf(yaml).registry.services[0]?.ports[0]?.protocol).toBe(protocol)
  })

  it('have the pods that their selector fits, at the target port', () => {
    const yaml = `${serviceYaml('a', 'http:80>8080 x:90')}${podYaml('p', 'app: a')}${ip('10.244.3.1')}${podYaml('q', 'app: b')}`
    expect(endpointsOf(yaml, hostOf('a'))).toEqual([
      { at: '10.244.3.1:8080', servicePortName: 'http', health: 'HEALTHY' },
      { at: '10.244.3.1:90', servicePortName: 'x', health: 'HEALTHY' },
    ])
  })

  it('look up target ports by their names in each pod, and leave out pods that lack one', () => {
    const named = (name: string, address: string, port: string) =>
      podYaml(name, 'app: a').replace('image: app', `image: app, ports: [${port}]`) + ip(address)
    const yaml =
      serviceYaml('a', 'http:80>web') +
      named('p', '10.244.3.1', '{name: web, containerPort: 8080}') +
      named('q', '10.244.3.2', '{name: web, containerPort: 9090}') +
      named('r', '10.244.3.3', '{name: other, containerPort: 9090}')
    expect(endpointsOf(yaml, hostOf('a')).map(({ at }) => at)).toEqual(['10.244.3.1:8080', '10.244.3.2:9090'])
  })

  it('count unready pods as unhealthy, unless publishNotReadyAddresses', () => {
    const unready = `${podYaml('p', 'app: a')}status: {podIP: 10.244.3.1, conditions: [{type: Ready, status: "False"}]}\n`
    expect(endpointsOf(serviceYaml('a', 'http:80') + unready, hostOf('a'))[0]?.health).toBe('UNHEALTHY')
    const published = serviceYaml('a', 'http:80', 'publishNotReadyAddresses: true')
    expect(endpointsOf(published + unready, hostOf('a'))[0]?.health).toBe('HEALTHY')
  })

  it('without a selector take EndpointSlices', () => {
    const yaml = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a-1, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [192.0.2.1]}
- {addresses: [192.0.2.2], conditions: {ready: false}}
`
    expect(endpointsOf(yaml, hostOf('a'))).toEqual([
      { at: '192.0.2.1:8080', servicePortName: 'http', health: 'HEALTHY' },
      { at: '192.0.2.2:8080', servicePortName: 'http', health: 'UNHEALTHY' },
    ])
  })

  it('without a selector take Endpoints', () => {
    const yaml = `
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: a}
subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{name: http, port: 8080}]}]
`
    expect(endpointsOf(yaml, hostOf('a')).map(({ at }) => at)).toEqual(['192.0.2.1:8080'])
  })

  it('of type ExternalName are other names of the service that they name', () => {
    const { registry } = pilotOf(`${serviceYaml('a', 'http:80')}---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {type: ExternalName, externalName: a.default.svc.cluster.local}
`)
    expect(registry.services.find((service) => service.name === 'other')?.resolution).toBe('ALIAS')
    expect(registry.services.find((service) => service.name === 'a')?.aliases).toEqual([
      { hostname: hostOf('other'), namespace: 'default' },
    ])
  })

  it('state by annotation who may see them and for whom else they stand', () => {
    const annotated = serviceYaml('a', 'http:80').replace(
      'namespace: default}',
      'namespace: default, annotations: {networking.istio.io/exportTo: "., prod", alpha.istio.io/kubernetes-serviceaccounts: extra}}',
    )
    const [service] = pilotOf(annotated).registry.services
    expect(service?.exportTo).toEqual(['.', 'prod'])
    expect(service?.serviceAccounts).toEqual(['spiffe://cluster.local/ns/default/sa/extra'])
  })

  it('know the service accounts of their pods', () => {
    const { registry } = pilotOf(serviceYaml('a', 'http:80') + podYaml('p', 'app: a', 'serviceAccountName: reader'))
    const [service] = registry.services
    expect(service && registry.serviceAccounts(service)).toEqual(['spiffe://cluster.local/ns/default/sa/reader'])
  })
})
