import { describe, expect, it } from 'vitest'
import { type Json, pilotOf, podYaml, serviceYaml } from './support/pilot.ts'

const base =
  serviceYaml('db', 'tcp:3306', 'clusterIP: 10.96.7.1') +
  serviceYaml('db2', 'tcp:3306', 'clusterIP: 10.96.7.2') +
  podYaml('client', 'app: client') +
  podYaml('other', 'app: other')

const virtualService = (hosts: string, spec: string) => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ${hosts}
${spec.replace(/^/gm, '  ')}
`

const proxyOf = (chain: Json): Json => chain.filters.at(-1).typed_config
const DB = 'outbound|3306||db.default.svc.cluster.local'
const DB2 = 'outbound|3306||db2.default.svc.cluster.local'

describe('TCP routes', () => {
  const chainsFor = (spec: string, pod = 'client') =>
    pilotOf(base + virtualService('[db]', spec))
      .proxy(pod)
      .listener('10.96.7.1_3306').filter_chains

  it('send to the destination', () => {
    const [chain] = chainsFor('tcp: [{route: [{destination: {host: db2}}]}]')
    expect(proxyOf(chain)).toMatchObject({ cluster: DB2 })
  })

  it('split by weight', () => {
    const [chain] = chainsFor(
      'tcp: [{route: [{destination: {host: db}, weight: 80}, {destination: {host: db2}, weight: 20}]}]',
    )
    expect(proxyOf(chain).weighted_clusters.clusters).toEqual([
      { name: DB, weight: 80 },
      { name: DB2, weight: 20 },
    ])
  })

  it('match port and the labels of the client; else the service itself', () => {
    const spec = 'tcp: [{match: [{port: 3306, sourceLabels: {app: client}}], route: [{destination: {host: db2}}]}]'
    expect(proxyOf(chainsFor(spec)[0])).toMatchObject({ cluster: DB2 })
    expect(proxyOf(chainsFor(spec, 'other')[0])).toMatchObject({ cluster: DB })
    const elsewhere = 'tcp: [{match: [{port: 1}], route: [{destination: {host: db2}}]}]'
    expect(proxyOf(chainsFor(elsewhere)[0])).toMatchObject({ cluster: DB })
  })
})

describe('TLS routes', () => {
  const entry = `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec:
  hosts: [a.example.com, b.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
`
  const chains = (spec: string) => {
    const made = pilotOf(base + entry + spec).proxy('client')
    const name = made.names.listeners.find((known) => known === '0.0.0.0_443')
    return name ? made.listener(name).filter_chains : made.names.listeners
  }

  it('go by SNI to the service of that name', () => {
    const byName = Object.fromEntries(
      chains('').map((chain: Json) => [chain.filter_chain_match?.server_names?.join(), proxyOf(chain).cluster]),
    )
    expect(byName['a.example.com']).toBe('outbound|443||a.example.com')
    expect(byName['b.example.com']).toBe('outbound|443||b.example.com')
  })

  it('go by sniHosts where a VirtualService says', () => {
    const spec = virtualService(
      '[a.example.com]',
      'tls: [{match: [{sniHosts: [a.example.com], port: 443}], route: [{destination: {host: b.example.com}}]}]',
    )
    const byName = Object.fromEntries(
      chains(spec).map((chain: Json) => [chain.filter_chain_match?.server_names?.join(), proxyOf(chain).cluster]),
    )
    expect(byName['a.example.com']).toBe('outbound|443||b.example.com')
    expect(byName['b.example.com']).toBe('outbound|443||b.example.com')
  })
})
