import http from 'node:http'
import net from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const policy = (name: string, spec: string, more = '') => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: default${more}}
spec:
  selector: {matchLabels: {app: reviews}}
  ${spec}
---`

/** A change of listeners holds for new connections, so each request gets one. */
const oneEach = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}
---`

describe('AuthorizationPolicy', () => {
  let mesh: TestMesh | undefined
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  const base = [client(), client('other'), service('reviews'), pod('reviews', 'v1'), oneEach].join('')
  const start = async (...policies: string[]) => {
    mesh = await startMesh({ 'base.yaml': base, 'policies.yaml': policies.join('') }, { watch: true })
    return mesh
  }
  const status = async (from: string, path = '/', send = {}) =>
    (await mesh!.get(from, `http://reviews:9080${path}`, send)).status
  /** The status that a program outside the mesh gets. */
  const outside = (headers: Record<string, string> = {}) =>
    new Promise<number | undefined>((resolve, reject) => {
      const at = mesh!.mesh.workloads().find((w) => w.name === 'reviews-v1')!.inbound['9080']
      http
        .get(`http://${at}/`, { agent: false, headers }, (response) => resolve(response.resume().statusCode))
        .on('error', reject)
    })

  it('DENY refuses what it names, with the words of Envoy, and lets the rest pass', async () => {
    const mesh = await start(
      policy('no-admin', 'action: DENY\n  rules: [{to: [{operation: {paths: ["/admin*"], methods: [GET]}}]}]'),
    )
    const denied = await mesh.get('client', 'http://reviews:9080/admin?x=1')
    expect(denied.status).toBe(403)
    expect(denied.text).toBe('RBAC: access denied')
    // The caller's sidecar has an answer of its upstream; that it was no app's is for the other sidecar to tell.
    expect(denied.answer).toMatchObject({ by: 'reviews-v1', details: 'via_upstream' })
    expect(denied.answer.refusal).toBe('rbac_access_denied_matched_policy[ns[default]-policy[no-admin]-rule[0]]')
    const allowed = await mesh.get('client', 'http://reviews:9080/public')
    expect(allowed.status).toBe(200)
    expect(allowed.answer.refusal).toBeUndefined()
    expect(await status('client', '/admin', { method: 'POST', body: 'x' })).toBe(200)
    const at = mesh.mesh.workloads().find((w) => w.name === 'reviews-v1')!
    const stats = await (await fetch(`http://${at.admin}/stats?filter=rbac`)).text()
    expect(stats).toMatch(/http\.inbound_0\.0\.0\.0_9080;?\.rbac\.denied: 1\n/)
    expect(stats).toMatch(/rbac\.allowed: 2\n/)
  })

  it('any ALLOW policy refuses everybody else; the name of a client is that of its certificate', async () => {
    await start(
      policy(
        'friends',
        'rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/client"]}}]}, {from: [{source: {ipBlocks: ["203.0.113.0/24"]}}]}]',
      ),
    )
    expect(await status('client')).toBe(200)
    expect(await status('other')).toBe(403)
    expect(await outside()).toBe(403)
  })

  it('DENY comes before ALLOW, and a policy without rules allows nothing', async () => {
    await start(
      policy('all', 'rules: [{}]'),
      policy('not-other', 'action: DENY\n  rules: [{from: [{source: {serviceAccounts: [other]}}]}]'),
    )
    expect(await status('client')).toBe(200)
    expect(await status('other')).toBe(403)
    await mesh!.write('policies.yaml', policy('nothing', ''))
    expect(await status('client')).toBe(403)
    await mesh!.write('policies.yaml', '')
    expect(await status('other')).toBe(200)
  })

  it('conditions on headers hold line by line, and notValues refuse', async () => {
    await start(
      policy(
        'tenant',
        'rules: [{when: [{key: "request.headers[x-tenant]", values: ["a*"], notValues: ["ab"]}, {key: destination.port, values: ["9080"]}]}]',
      ),
    )
    expect(await status('client', '/', { headers: { 'x-tenant': 'aa' } })).toBe(200)
    expect(await status('client', '/', { headers: { 'x-tenant': 'ab' } })).toBe(403)
    expect(await status('client', '/', { headers: { 'x-tenant': 'b' } })).toBe(403)
    expect(await status('client')).toBe(403)
  })

  it('a dry run decides nothing, and says in the metadata what it would', async () => {
    const mesh = await start(
      policy('dry', 'action: DENY\n  rules: [{}]', ', annotations: {istio.io/dry-run: "true"}'),
      `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %DYNAMIC_METADATA(envoy.filters.http.rbac)%\\n"
---`,
    )
    expect(await status('client')).toBe(200)
    const [line] = await mesh.logLines('default', 'reviews-v1', 1)
    expect(line).toContain('"istio_dry_run_deny_shadow_engine_result":"denied"')
    expect(line).toContain('"istio_dry_run_deny_shadow_effective_policy_id":"ns[default]-policy[dry]-rule[0]"')
  })

  it('on TCP the connection is closed at its first byte', async () => {
    mesh = await startMesh(
      [
        client(),
        client('other'),
        service('db', 'default', { name: 'tcp', port: 9000 }),
        pod('db', 'v1', { port: 9000 }),
        `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db}
spec: {action: DENY, rules: [{from: [{source: {principals: ["*/sa/other"]}}]}]}
---`,
      ].join(''),
    )
    const echo = (from: string) =>
      new Promise<string>((resolve) => {
        const [address] = Object.entries(mesh!.mesh.workloads().find((w) => w.name === from)!.outbound)
          .find(([to]) => to.endsWith(':9000'))!
          .slice(1) as [string]
        const [host, port] = address.split(':')
        const socket = net.connect({ host: host!, port: Number(port) }, () => socket.end('hello'))
        let text = ''
        socket.on('data', (chunk) => {
          text += chunk
        })
        socket.on('error', () => resolve('closed'))
        socket.on('close', () => resolve(text || 'closed'))
      })
    expect(await echo('client')).toContain('hello')
    expect(await echo('other')).toBe('closed')
  })
})
