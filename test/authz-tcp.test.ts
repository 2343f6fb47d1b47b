import net from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type GrpcAuthorizer, startGrpcAuthorizer } from './support/grpc-authorizer.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const policy = (spec: string, more = '') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db, namespace: default${more}}
spec: {selector: {matchLabels: {app: db}}, ${spec}}
---`

const from = (field: string) => `{from: [{source: {${field}}}]}`
const when = (key: string, field: string) => `{when: [{key: "${key}", ${field}}]}`

/** A rule and whether it matches the connections of `client` and of `other`, both on TCP. */
const RULES: [rule: string, client: boolean, other: boolean][] = [
  [from('principals: ["*/sa/other"]'), false, true],
  [from('notPrincipals: ["*/sa/other"]'), true, false],
  [from('namespaces: [default]'), true, true],
  [from('serviceAccounts: [client]'), true, false],
  [from('ipBlocks: ["CLIENT_IP"]'), true, false],
  [from('remoteIpBlocks: ["CLIENT_IP"]'), true, false],
  ['{to: [{operation: {ports: ["9000"]}}]}', true, true],
  ['{to: [{operation: {notPorts: ["9000"]}}]}', false, false],
  [when('source.ip', 'values: ["CLIENT_IP"]'), true, false],
  [when('destination.port', 'values: ["9000"]'), true, true],
  [when('source.serviceAccount', 'notValues: ["default/client"]'), false, true],
  [when('connection.sni', 'values: ["*db.default*"]'), false, false],
  [when('connection.sni', 'values: ["outbound_.9000_*"]'), true, true],
]

describe('AuthorizationPolicy on TCP', () => {
  let mesh: TestMesh
  let authorizer: GrpcAuthorizer
  beforeAll(async () => {
    authorizer = await startGrpcAuthorizer(({ attributes }) => ({
      status: { code: attributes?.source?.principal.endsWith('/sa/client') ? 0 : 7 },
    }))
    mesh = await startMesh(
      {
        'mesh.yaml': `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%CONNECTION_TERMINATION_DETAILS% %DYNAMIC_METADATA(envoy.filters.network.rbac)%\\n"
    extensionProviders:
    - {name: grpc, envoyExtAuthzGrpc: {service: authz.default.svc.cluster.local, port: 9080}}
    - {name: http, envoyExtAuthzHttp: {service: authz.default.svc.cluster.local, port: 9080}}
    - {name: broken, envoyExtAuthzHttp: {service: nowhere.default.svc.cluster.local, port: 9080}}
---`,
        'base.yaml': [
          client(),
          client('other'),
          service('db', 'default', { name: 'tcp', port: 9000 }),
          pod('db', 'v1', { port: 9000 }),
          service('authz', 'default', { name: 'grpc', port: 9080 }),
          pod('authz', 'v1', { annotations: authorizer.annotation }),
        ].join(''),
        'policies.yaml': '',
      },
      { watch: true },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    authorizer?.close()
  })

  const workload = (name: string) => mesh.mesh.workloads().find((one) => one.name === name)!
  const use = (...policies: string[]) =>
    mesh.write('policies.yaml', policies.join('').replaceAll('CLIENT_IP', workload('client').ip))

  /** Whether a connection through the sidecar of `who` gets an answer. */
  const reaches = (who: string) =>
    new Promise<boolean>((resolve) => {
      const [, at] = Object.entries(workload(who).outbound).find(([to]) => to.endsWith(':9000'))!
      const [host, port] = at.split(':')
      let answered = false
      const socket = net.connect({ host: host!, port: Number(port) }, () => socket.end('hello'))
      socket.on('data', () => {
        answered = true
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(answered))
    })
  const both = async () => [await reaches('client'), await reaches('other')]

  it.each(RULES)('%s', async (rule, forClient, forOther) => {
    await use(policy(`action: ALLOW, rules: [${rule}]`))
    expect(await both()).toEqual([forClient, forOther])
    await use(policy(`action: DENY, rules: [${rule}]`))
    expect(await both()).toEqual([!forClient, !forOther])
  })

  it.each([
    ['methods', '{to: [{operation: {methods: [GET], ports: ["9000"]}}]}'],
    ['paths', '{to: [{operation: {paths: ["/*"], ports: ["9000"]}}]}'],
    ['hosts', '{to: [{operation: {hosts: ["*"], ports: ["9000"]}}]}'],
    ['request principals', '{from: [{source: {requestPrincipals: ["*"]}}], to: [{operation: {ports: ["9000"]}}]}'],
    ['headers', '{when: [{key: "request.headers[a]", values: ["*"]}, {key: destination.port, values: ["9000"]}]}'],
  ])('with %s ALLOW never allows, and DENY goes by what is left of the rule', async (_what, rule) => {
    await use(policy(`action: ALLOW, rules: [${rule}]`))
    expect(await both()).toEqual([false, false])
    await use(policy(`action: DENY, rules: [${rule}]`))
    expect(await both()).toEqual([false, false])
  })

  it('a dry run decides nothing, and says in the metadata what it would', async () => {
    await use(
      policy(
        `action: ALLOW, rules: [${from('serviceAccounts: [client]')}]`,
        ', annotations: {istio.io/dry-run: "true"}',
      ),
    )
    expect(await both()).toEqual([true, true])
    // Lines about earlier connections may be written late.
    const lines: string[] = []
    for (let read = 0; lines.length < 2; ) {
      const all = await mesh.logLines('default', 'db-v1', read + 1)
      lines.push(...all.slice(read).filter((line) => line.includes('istio_dry_run')))
      read = all.length
    }
    expect(lines[0]).toContain('"istio_dry_run_allow_shadow_engine_result":"allowed"')
    expect(lines[1]).toContain('"istio_dry_run_allow_shadow_engine_result":"denied"')
  })

  it('CUSTOM asks a gRPC authorizer about the connection, and none over HTTP', async () => {
    await use(policy('action: CUSTOM, provider: {name: grpc}, rules: [{}]'))
    expect(await both()).toEqual([true, false])
    expect(authorizer.asked.map(({ attributes }) => attributes?.source?.principal)).toEqual([
      'spiffe://cluster.local/ns/default/sa/client',
      'spiffe://cluster.local/ns/default/sa/other',
    ])
    await use(policy('action: CUSTOM, provider: {name: grpc}, rules: [{to: [{operation: {ports: ["1"]}}]}]'))
    expect(await both()).toEqual([true, true])
    await use(policy('action: CUSTOM, provider: {name: http}, rules: [{}]'))
    expect(await both()).toEqual([true, true])
    expect(authorizer.asked).toHaveLength(2)
    await use(policy('action: CUSTOM, provider: {name: broken}, rules: [{}]'))
    expect(await both()).toEqual([false, false])
  })
})
