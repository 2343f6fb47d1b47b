import { setTimeout as passing } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { client, pod, type Send, service, startMesh, type TestMesh } from './support/mesh.ts'

const url = 'http://reviews:9080/'

const rule = (policy: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {${policy}}
---`

const node = (name: string, region: string, zone: string) => `
apiVersion: v1
kind: Node
metadata:
  name: ${name}
  labels: {topology.kubernetes.io/region: ${region}, topology.kubernetes.io/zone: ${zone}}
---`

const nodes = [node('here', 'eu', 'eu-1'), node('near', 'eu', 'eu-2'), node('far', 'us', 'us-1')].join('')

/** The client, and a pod of reviews on each node: called as their nodes are. */
const localities = [
  nodes,
  client().replace('serviceAccountName: client', 'serviceAccountName: client\n  nodeName: here'),
  service('reviews'),
  ...['here', 'near', 'far'].map((name) => pod('reviews', name, { spec: `nodeName: ${name}` })),
].join('')

describe('which pod a request goes to', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const start = async (...yaml: string[]) => {
    mesh = await startMesh(yaml.join(''))
    return mesh
  }
  const three = [client(), service('reviews'), pod('reviews', 'v1'), pod('reviews', 'v2'), pod('reviews', 'v3')]
  const whom = async (mesh: TestMesh, target: string, send?: Send) =>
    Object.keys(await mesh.split('client', target, 12, send))

  it.each([
    ['httpHeaderName: x-user', (user: string) => [url, { headers: { 'x-user': user } }] as const],
    ['httpQueryParameterName: user', (user: string) => [`${url}?user=${user}`, {}] as const],
    ['httpCookie: {name: user, ttl: 0s}', (user: string) => [url, { headers: { cookie: `user=${user}` } }] as const],
    [
      'httpHeaderName: x-user, maglev: {tableSize: 101}',
      (user: string) => [url, { headers: { 'x-user': user } }] as const,
    ],
  ])('consistentHash {%s}: equal requests go to one pod, others to others', async (hash, request) => {
    const mesh = await start(...three, rule(`loadBalancer: {consistentHash: {${hash}}}`))
    const found = new Set<string>()
    for (let user = 0; user < 12; user++) {
      const [target, send] = request(`user-${user}`)
      const pods = await whom(mesh, target, send)
      expect(pods).toHaveLength(1)
      found.add(pods[0]!)
    }
    expect(found.size).toBeGreaterThan(1)
  })

  it('consistentHash {useSourceIp: true}: a client stays with one pod', async () => {
    const mesh = await start(...three, rule('loadBalancer: {consistentHash: {useSourceIp: true}}'))
    expect(await whom(mesh, url)).toHaveLength(1)
  })

  it('ROUND_ROBIN takes turns', async () => {
    const mesh = await start(...three, rule('loadBalancer: {simple: ROUND_ROBIN}'))
    expect(await mesh.split('client', url, 30)).toEqual({ v1: 10, v2: 10, v3: 10 })
  })

  it('with outlier detection, the own zone comes first', async () => {
    const mesh = await start(localities, rule('outlierDetection: {}'))
    expect(await whom(mesh, url)).toEqual(['here'])
  })

  it('localityLbSetting.distribute splits by locality', async () => {
    const distribute = 'distribute: [{from: "eu/eu-1/*", to: {"eu/eu-2/*": 50, "us/*": 50}}]'
    const mesh = await start(localities, rule(`loadBalancer: {localityLbSetting: {${distribute}}}`))
    const { here = 0, near = 0, far = 0 } = await mesh.split('client', url, 200)
    expect(here).toBe(0)
    expect(Math.abs(near - far)).toBeLessThan(80)
  })

  it('localityLbSetting.failover names the region that comes next', async () => {
    const more = [node('asia', 'asia', 'asia-1'), pod('reviews', 'asia', { spec: 'nodeName: asia' })]
    const only = localities.replace(
      /apiVersion: v1\nkind: Pod\nmetadata:\n {2}name: reviews-(?:here|near)[\s\S]*?---/g,
      '---',
    )
    const setting = 'loadBalancer: {localityLbSetting: {failover: [{from: eu, to: asia}]}}, outlierDetection: {}'
    const mesh = await start(only, ...more, rule(setting))
    expect(await whom(mesh, url)).toEqual(['asia'])
  })

  it('localityLbSetting.failoverPriority prefers pods that share the labels', async () => {
    const labelled = three.map((yaml) => yaml.replace(/labels: \{app: (client|reviews, version: v2)/, '$&, rack: a'))
    const setting = 'loadBalancer: {localityLbSetting: {failoverPriority: [rack]}}, outlierDetection: {}'
    const mesh = await start(...labelled, rule(setting))
    expect(await whom(mesh, url)).toEqual(['v2'])
  })

  it("MeshConfig's localityLbSetting holds where a rule says nothing", async () => {
    const mesh = await start(
      localities,
      rule('outlierDetection: {}'),
      `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: "localityLbSetting: {enabled: false}"
---`,
    )
    expect(Object.keys(await mesh.split('client', url, 60)).sort()).toEqual(['far', 'here', 'near'])
  })

  it("a Service's trafficDistribution: PreferClose keeps to the own zone", async () => {
    const mesh = await start(localities.replace('selector: {app: reviews}', '$&\n  trafficDistribution: PreferClose'))
    expect(await whom(mesh, url)).toEqual(['here'])
  })

  it("a Service's internalTrafficPolicy: Local keeps to the own node", async () => {
    const mesh = await start(localities.replace('selector: {app: reviews}', '$&\n  internalTrafficPolicy: Local'))
    expect(await whom(mesh, url)).toEqual(['here'])
  })

  it('zoneAwareLbSetting prefers the own region', async () => {
    const mesh = await start(localities, rule('loadBalancer: {zoneAwareLbSetting: {enabled: true}}'))
    expect((await whom(mesh, url)).includes('far')).toBe(false)
  })

  it('warmup: a new pod takes its share slowly', async () => {
    const warmup = 'loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 4s, minimumPercent: 1}}'
    mesh = await startMesh(
      { 'mesh.yaml': [client(), service('reviews'), pod('reviews', 'v1'), rule(warmup)].join(''), 'new.yaml': '' },
      { watch: true },
    )
    await mesh.split('client', url, 10)
    await passing(4100)
    await mesh.write('new.yaml', pod('reviews', 'v2'))
    const { v1 = 0, v2 = 0 } = await mesh.split('client', url, 60)
    expect(v2).toBeLessThan(v1 / 2)
  })

  it('PASSTHROUGH goes to where the client was going', async () => {
    const mesh = await start(...three, rule('loadBalancer: {simple: PASSTHROUGH}'))
    const [target] = mesh.mesh.registry.workloads.filter((w) => w.name === 'reviews-v2')
    expect(await mesh.split('client', `http://${target!.ip}:9080/`, 5, { headers: { host: 'reviews:9080' } })).toEqual({
      v2: 5,
    })
  })
})
