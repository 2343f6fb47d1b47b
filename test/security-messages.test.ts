import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'
import { withDoorOptions } from '../src/cli/door-options.ts'
import { run } from '../src/cli/main.ts'
import { SdsAgent } from '../src/mesh/sds-agent/agent.ts'
import { SystemRuntime } from '../src/runtime-system.ts'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { gatewayYaml, secretYaml } from './support/gateway.ts'
import { pod, service, startMesh } from './support/mesh.ts'

const meshConfig = (port: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: sample-ext-authz-grpc
      envoyExtAuthzGrpc: {service: ext-authz.foo.svc.cluster.local, port: ${port}}
`

describe('numbers in a MeshConfig', () => {
  it('may be quoted, as the port is in the sample of external authorization in the docs of Istio', () => {
    const { objects, problems } = loadText('a.yaml', meshConfig('"9000"'))
    expect(problems).toEqual([])
    const mesh = objects.find((object) => object.kind === 'MeshConfig')
    expect(mesh?.spec).toMatchObject({ extensionProviders: [{ envoyExtAuthzGrpc: { port: 9000 } }] })
  })

  it('are refused when they are words', () => {
    const { problems } = loadText('a.yaml', meshConfig('"nine"'))
    expect(problems.map(({ severity, message }) => `${severity}: ${message}`)).toEqual([
      expect.stringMatching(/^error: extensionProviders\[0\]\.envoyExtAuthzGrpc\.port: expected a number/),
    ])
  })
})

describe('a condition of an AuthorizationPolicy', () => {
  const message = (key: string) =>
    loadText(
      'a.yaml',
      `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: default}
spec: {rules: [{when: [{key: "${key}", values: [a]}]}]}
`,
    ).problems[0]?.message
  it('with a key that is nearly right is told the right one', () => {
    expect(message('request.header[foo]')).toMatch(/did you mean "request\.headers\[foo\]"\?$/)
    expect(message('source.principl')).toMatch(/did you mean "source\.principal"\?$/)
    expect(message('weather')).toMatch(/"weather" is no attribute$/)
  })
})

describe('the command line', () => {
  it('shows default addresses as they are written', () => {
    const help = withDoorOptions(new Command('x'), {
      grpc: '127.0.0.1:15010',
      tls: '127.0.0.1:15012',
    }).helpInformation()
    expect(help.replace(/\s+/g, ' ')).toContain('(default: 127.0.0.1:15012)')
    expect(help).not.toContain('{')
  })

  it('goes on when nobody reads what it prints', async () => {
    const error = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' })
    await run(['--version'])
    await run(['--version'])
    expect(process.stdout.listenerCount('error')).toBeLessThan(4)
    expect(() => process.stdout.emit('error', error)).not.toThrow()
    process.exitCode = 0
  })
})

describe('dinghy sds, without a certificate', () => {
  let dir: string
  let agent: SdsAgent | undefined
  beforeEach(() => {
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-sds-'))
  })
  afterEach(async () => {
    await agent?.close()
    fs.rmSync(dir, { recursive: true, force: true })
  })

  it('says who cannot be reached and why, and leaves no socket behind when it is stopped', async () => {
    const closed = net.createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => closed.once('listening', resolve))
    const { port } = closed.address() as net.AddressInfo
    await new Promise((resolve) => closed.close(resolve))
    const socket = path.join(dir, 'a.sock')
    const { cert } = await makeAuthority('root')
    const line = await new Promise<string>((log) => {
      SdsAgent.start({
        ca: { address: `127.0.0.1:${port}`, roots: () => cert, token: () => 'x' },
        place: { socket },
        runtime: new SystemRuntime(),
        log,
        listening: (made) => {
          agent = made
        },
      }).catch(() => undefined)
    })
    expect(line).toBe(`no certificate yet: 127.0.0.1:${port} cannot be reached: connect ECONNREFUSED 127.0.0.1:${port}`)
    expect(fs.existsSync(socket)).toBe(true)
    await agent?.close()
    expect(fs.existsSync(socket)).toBe(false)
  })
})

describe('the Secret of a gateway', () => {
  const HOUR = 3_600_000
  const names = [{ type: 'dns' as const, value: 'shop.example.com' }]
  const server = (mode: string) => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: ${mode}, credentialName: shop}
---`
  /** What is told of the secret when the mesh starts. */
  async function told(mode: string, data: Record<string, string>): Promise<string[]> {
    const mesh = await startMesh(
      gatewayYaml() + service('reviews') + pod('reviews', 'v1') + server(mode) + secretYaml('shop', data),
    )
    await mesh.stop()
    const problems = mesh.events.flatMap((event) => (event.type === 'problems' ? event.problems : []))
    return problems.filter(({ line }) => line > 0).map(({ message }) => message)
  }

  it('with a certificate that is over, or not valid yet, is told of', async () => {
    const authority = await makeAuthority('CN=root')
    const old = await makeIdentity(authority, 'CN=old', names, { from: -2 * HOUR, until: -HOUR })
    expect(await told('SIMPLE', { 'tls.crt': old.cert, 'tls.key': old.key })).toContainEqual(
      expect.stringMatching(/^the certificate expired on .* GMT; it is served, and clients refuse it$/),
    )
    const early = await makeIdentity(authority, 'CN=early', names, { from: HOUR, until: 2 * HOUR })
    expect(await told('SIMPLE', { 'tls.crt': early.cert, 'tls.key': early.key })).toContainEqual(
      expect.stringMatching(/^the certificate is not valid before .* GMT/),
    )
  })

  it('with a revocation list that is none is told of where clients show certificates, else it does not matter', async () => {
    const authority = await makeAuthority('CN=root')
    const { cert, key } = await makeIdentity(authority, 'CN=shop', names)
    const data = { 'tls.crt': cert, 'tls.key': key, 'ca.crt': authority.cert, 'ca.crl': 'nonsense' }
    const words = expect.stringMatching(/^the revocation list holds no X509 CRL in PEM/)
    expect(await told('MUTUAL', data)).toContainEqual(words)
    expect(await told('SIMPLE', data)).not.toContainEqual(words)
  }, 20_000)
})

describe('an authorizer that sidecars cannot reach', () => {
  /** What is told of the policy when the mesh starts. */
  async function told(port: number, more = ''): Promise<string[]> {
    const mesh =
      await startMesh(`${service('reviews')}${pod('reviews', 'v1')}${service('authz')}${pod('authz', 'v1')}${more}
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: default}
spec: {selector: {matchLabels: {app: reviews}}, action: CUSTOM, provider: {name: mine}, rules: [{}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: mine
      envoyExtAuthzHttp: {service: authz.default.svc.cluster.local, port: ${port}}
`)
    await mesh.stop()
    const problems = mesh.events.flatMap((event) => (event.type === 'problems' ? event.problems : []))
    return problems.map(({ message }) => message).filter((message) => message.startsWith('denies all'))
  }

  it('is told of: a port that its service has not, a Sidecar that leaves it out', async () => {
    expect(await told(9080)).toEqual([])
    expect(await told(9999)).toEqual([expect.stringMatching(/the service "authz\..*" has no port 9999$/)])
    const sidecar = `
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: default}
spec: {egress: [{hosts: ["istio-system/*"]}]}
---`
    expect(await told(9080, sidecar)).toEqual([expect.stringMatching(/Sidecar default\/narrow leaves it out$/)])
  }, 20_000)
})
