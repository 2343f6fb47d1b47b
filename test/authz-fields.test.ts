import http from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

// One mesh, and for each line of a policy one change of it: who gets through, and who does not.

const namespace = (name: string) => `
apiVersion: v1
kind: Namespace
metadata: {name: ${name}}
---`

const policy = (rules: string, action: string, more = '', name = 'p') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: default}
spec: {selector: {matchLabels: {app: reviews}}, action: ${action}, rules: [${rules}]${more}}
---`

interface Ask {
  /** `outside`: in plaintext, past all sidecars. */
  from?: 'client' | 'other' | 'outside'
  path?: string
  method?: string
  headers?: Record<string, string>
}

const [CLIENT, OTHER, OUTSIDE]: Ask[] = [{ from: 'client' }, { from: 'other' }, { from: 'outside' }]
const at = (path: string): Ask => ({ path })
const by = (method: string): Ask => ({ method })
const to = (host: string): Ask => ({ from: 'outside', headers: { host } })
const having = (value: string): Ask => ({ headers: { 'x-a': value } })
const forwarded = (list: string): Ask => ({ from: 'outside', headers: { 'x-forwarded-for': list } })
const from = (field: string) => `{from: [{source: {${field}}}]}`
const op = (field: string) => `{to: [{operation: {${field}}}]}`
const when = (key: string, field: string) => `{when: [{key: "${key}", ${field}}]}`

/** A rule, who it is for, who it is not for. */
type Case = [rule: string, matches: Ask[], not: Ask[]]

const PRINCIPAL = 'cluster.local/ns/default/sa/client'

const SOURCES: Case[] = [
  [from(`principals: ["${PRINCIPAL}"]`), [CLIENT!], [OTHER!, OUTSIDE!]],
  [from('principals: ["cluster.local/ns/default/*"]'), [CLIENT!], [OTHER!, OUTSIDE!]],
  [from('principals: ["*/sa/other"]'), [OTHER!], [CLIENT!, OUTSIDE!]],
  [from('principals: ["*"]'), [CLIENT!, OTHER!], [OUTSIDE!]],
  [from(`notPrincipals: ["${PRINCIPAL}"]`), [OTHER!, OUTSIDE!], [CLIENT!]],
  [from('notPrincipals: ["*"]'), [OUTSIDE!], [CLIENT!, OTHER!]],
  [from('serviceAccounts: [client]'), [CLIENT!], [OTHER!, OUTSIDE!]],
  [from('serviceAccounts: ["far/other"]'), [OTHER!], [CLIENT!, OUTSIDE!]],
  [from('notServiceAccounts: ["far/other"]'), [CLIENT!, OUTSIDE!], [OTHER!]],
  [from('namespaces: [far]'), [OTHER!], [CLIENT!, OUTSIDE!]],
  [from('namespaces: ["f*"]'), [OTHER!], [CLIENT!]],
  [from('namespaces: ["*ar"]'), [OTHER!], [CLIENT!]],
  [from('namespaces: ["f.r"]'), [], [OTHER!]],
  [from('notNamespaces: [far]'), [CLIENT!, OUTSIDE!], [OTHER!]],
  [from('trustDomains: [cluster.local]'), [CLIENT!, OTHER!], [OUTSIDE!]],
  [from('trustDomains: ["*.local"]'), [CLIENT!], [OUTSIDE!]],
  [from('trustDomains: [elsewhere]'), [], [CLIENT!, OUTSIDE!]],
  [from('trustDomains: [cluster]'), [], [CLIENT!]],
  [from('trustDomains: ["*t"]'), [], [CLIENT!]],
  [from('notTrustDomains: [cluster.local]'), [OUTSIDE!], [CLIENT!]],
  [from('ipBlocks: ["CLIENT_IP"]'), [CLIENT!], [OTHER!, OUTSIDE!]],
  [from('notIpBlocks: ["CLIENT_IP/32"]'), [OTHER!, OUTSIDE!], [CLIENT!]],
  [
    from('remoteIpBlocks: ["203.0.113.0/24"]'),
    [forwarded('203.0.113.7')],
    [CLIENT!, OUTSIDE!, forwarded('198.51.100.1')],
  ],
  [from('notRemoteIpBlocks: ["203.0.113.7"]'), [CLIENT!, OUTSIDE!], [forwarded('203.0.113.7')]],
  [from('ipBlocks: ["203.0.113.0/24"]'), [], [forwarded('203.0.113.7')]],
  [from('namespaces: [default], notPrincipals: ["*/sa/other"]'), [CLIENT!], [OTHER!, OUTSIDE!]],
  ['{from: [{source: {namespaces: [far]}}, {source: {serviceAccounts: [client]}}]}', [CLIENT!, OTHER!], [OUTSIDE!]],
]

const OPERATIONS: Case[] = [
  [op('paths: ["/a"]'), [at('/a'), at('/a?b=c')], [at('/a/'), at('/A'), at('/')]],
  [op('paths: ["/a*"]'), [at('/a'), at('/ab/c?d')], [at('/b')]],
  [op('paths: ["*/a"]'), [at('/a'), at('/x/a?b')], [at('/a/x')]],
  [op('paths: ["*"]'), [at('/'), at('/x')], []],
  [op('notPaths: ["/a", "/b*"]'), [at('/c')], [at('/a'), at('/bc')]],
  [op('paths: ["/t/{*}/x"]'), [at('/t/1/x'), at('/t/1/x?q')], [at('/t/x'), at('/t/1/2/x'), at('/t/1/x/')]],
  [op('paths: ["/t/{**}"]'), [at('/t/1'), at('/t/1/2')], [at('/u/1')]],
  [op('paths: ["/t/{*}/x/{**}"]'), [at('/t/1/x/a/b')], [at('/t/1/y/a'), at('/t/1/2/x/a')]],
  [op('paths: ["/t/{**}/x.js"]'), [at('/t/1/2/x.js')], [at('/t/1/x.css')]],
  [op('methods: [GET]'), [by('GET')], [by('POST'), by('HEAD')]],
  [op('methods: ["P*"]'), [by('POST'), by('PUT')], [by('GET')]],
  [op('methods: ["*T"]'), [by('GET'), by('POST')], [by('DELETE')]],
  [op('notMethods: [GET]'), [by('POST')], [by('GET')]],
  [
    op('hosts: ["a.example.com"]'),
    [to('a.example.com'), to('A.Example.Com')],
    [to('b.example.com'), to('a.example.com:80')],
  ],
  [op('hosts: ["*.example.com"]'), [to('a.example.com')], [to('example.com'), to('a.example.org')]],
  [op('hosts: ["a.*"]'), [to('a.example.com'), to('a.b:80')], [to('b.a')]],
  [op('notHosts: ["a.example.com"]'), [to('b.example.com')], [to('A.example.com')]],
  [op('ports: ["9080"]'), [CLIENT!, OUTSIDE!], []],
  [op('ports: ["80"]'), [], [CLIENT!]],
  [op('notPorts: ["9080"]'), [], [CLIENT!]],
  [op('paths: ["/a"], methods: [GET]'), [at('/a')], [at('/b'), { path: '/a', method: 'POST' }]],
]

const CONDITIONS: Case[] = [
  [when('request.headers[x-a]', 'values: ["1"]'), [having('1')], [having('2'), CLIENT!]],
  [when('request.headers[x-a]', 'values: ["1*"]'), [having('12')], [having('21'), CLIENT!]],
  [when('request.headers[x-a]', 'values: ["*1"]'), [having('21')], [having('12')]],
  [when('request.headers[x-a]', 'values: ["*"]'), [having('x')], [CLIENT!]],
  [when('request.headers[X-A]', 'notValues: ["1"]'), [having('2'), CLIENT!], [having('1')]],
  [when('source.ip', 'values: ["CLIENT_IP"]'), [CLIENT!], [OTHER!, OUTSIDE!]],
  [when('remote.ip', 'values: ["203.0.113.0/24"]'), [forwarded('203.0.113.9')], [CLIENT!]],
  [when('remote.ip', 'notValues: ["203.0.113.0/24"]'), [CLIENT!], [forwarded('203.0.113.9')]],
  [when('source.namespace', 'values: ["far"]'), [OTHER!], [CLIENT!, OUTSIDE!]],
  [when('source.principal', `values: ["${PRINCIPAL}"]`), [CLIENT!], [OTHER!]],
  [when('source.principal', 'notValues: ["*"]'), [OUTSIDE!], [CLIENT!]],
  [when('source.serviceAccount', 'values: ["far/other"]'), [OTHER!], [CLIENT!]],
  [when('source.trustDomain', 'values: ["cluster.local"]'), [CLIENT!], [OUTSIDE!]],
  [when('destination.ip', 'values: ["SERVER_IP"]'), [CLIENT!], []],
  [when('destination.ip', 'notValues: ["SERVER_IP"]'), [], [CLIENT!]],
  [when('destination.port', 'values: ["9080"]'), [CLIENT!], []],
  [
    when('connection.sni', 'values: ["outbound_.9080_._.reviews.default.svc.cluster.local"]'),
    [CLIENT!, OTHER!],
    [OUTSIDE!],
  ],
  [when('connection.sni', 'values: ["*"]'), [CLIENT!], [OUTSIDE!]],
  [when('experimental.envoy.filters.http.rbac[absent]', 'values: ["x"]'), [], [CLIENT!]],
  [
    '{when: [{key: source.namespace, values: [default]}, {key: "request.headers[x-a]", values: ["1"]}]}',
    [having('1')],
    [CLIENT!],
  ],
]

describe('AuthorizationPolicy, line by line', () => {
  let mesh: TestMesh
  const addresses: Record<string, string> = {}
  beforeAll(async () => {
    mesh = await startMesh(
      {
        'base.yaml': [
          namespace('far'),
          client(),
          client('other', 'far'),
          service('reviews'),
          pod('reviews', 'v1'),
          service('ratings'),
          pod('ratings', 'v1'),
          `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, exportTo: ["*"], trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`,
        ].join(''),
        'policies.yaml': '',
      },
      { watch: true },
    )
    for (const { name, ip } of mesh.mesh.workloads()) addresses[name] = ip
  })
  afterAll(async () => {
    await mesh?.stop()
  })

  const use = (text: string) =>
    mesh.write(
      'policies.yaml',
      text.replaceAll('CLIENT_IP', addresses.client!).replaceAll('SERVER_IP', addresses['reviews-v1']!),
    )

  /** Asks as the case says. */
  async function status({ from: who = 'client', path = '/', method = 'GET', headers = {} }: Ask): Promise<number> {
    if (who !== 'outside') {
      const far = who === 'other' ? 'reviews.default:9080' : 'reviews:9080'
      return (await mesh.get(who, `http://${far}${path}`, { method, headers })).status
    }
    const [address, port] = mesh.mesh
      .workloads()
      .find(({ name }) => name === 'reviews-v1')!
      .inbound['9080']!.split(':')
    return new Promise((resolve, reject) => {
      const options = { host: address, port: Number(port), path, method, headers, agent: false } as const
      http
        .request(options, (response) => resolve(response.resume().statusCode ?? 0))
        .on('error', reject)
        .end()
    })
  }

  const check = async ([rule, matches, not]: Case, [yes, no]: [number, number]) => {
    for (const one of matches) expect([rule, one, await status(one)]).toEqual([rule, one, yes])
    for (const one of not) expect([rule, one, await status(one)]).toEqual([rule, one, no])
  }

  it.each(SOURCES.map((one) => [one[0], one] as const))('%s', async (rule, one) => {
    await use(policy(rule, 'ALLOW'))
    await check(one, [200, 403])
    await use(policy(rule, 'DENY'))
    await check(one, [403, 200])
  })

  it.each(OPERATIONS.map((one) => [one[0], one] as const))('%s', async (rule, one) => {
    await use(policy(rule, 'ALLOW'))
    await check(one, [200, 403])
  })

  it.each(CONDITIONS.map((one) => [one[0], one] as const))('%s', async (rule, one) => {
    await use(policy(rule, 'ALLOW'))
    await check(one, [200, 403])
  })

  it('AUDIT lets everything pass', async () => {
    await use(policy('{}', 'AUDIT'))
    expect(await status({})).toBe(200)
  })

  it('a policy binds the workloads of its selector alone, and one of the root namespace those of all', async () => {
    await use(policy('{}', 'DENY'))
    expect((await mesh.get('client', 'http://ratings:9080/')).status).toBe(200)
    await use(policy('{}', 'DENY').replace('namespace: default', 'namespace: istio-system'))
    expect(await status({})).toBe(403)
    const ours = policy(from('serviceAccounts: [client]'), 'DENY')
    await use(ours.replace('namespace: default', 'namespace: istio-system'))
    expect(await status({})).toBe(200)
    await use(policy('{}', 'DENY').replace('namespace: default', 'namespace: far'))
    expect(await status({})).toBe(200)
  })
})
