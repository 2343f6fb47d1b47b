import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { nameServerResolver } from '../src/proxy/upstream/discovery/dns-servers.ts'
import { type App, startApp } from './support/app.ts'
import { type DnsServer, startDnsServer } from './support/dns-server.ts'
import { client, startMesh, type TestMesh } from './support/mesh.ts'

const entry = (port: number) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ["*.example.com"]
  location: MESH_EXTERNAL
  resolution: DYNAMIC_DNS
  ports: [{number: ${port}, name: http, protocol: HTTP}]
---`

describe('names that are resolved when they are asked for', () => {
  let mesh: TestMesh | undefined
  let app: App
  let dns: DnsServer
  beforeAll(async () => {
    app = await startApp((request, response) => response.end(`for ${request.headers.host}`))
    dns = await startDnsServer((name) =>
      name.startsWith('missing') ? undefined : { addresses: name === 'six.example.com' ? ['::1'] : ['127.0.0.1'] },
    )
  })
  afterEach(async () => {
    await mesh?.stop()
    mesh = undefined
  })
  afterAll(async () => {
    dns.close()
    await app.close()
  })
  const start = async (...yaml: string[]) => {
    mesh = await startMesh([client(), ...yaml].join(''), { resolver: nameServerResolver([dns.address]) })
    // Where the name points for the program does not matter: the sidecar looks for itself.
    const get = (host: string) =>
      mesh!.get('client', `http://203.0.113.7:${app.port}/`, { headers: { host: `${host}:${app.port}` } })
    return { get, logLines: mesh.logLines }
  }

  it('a wildcard ServiceEntry with resolution: DYNAMIC_DNS reaches any host that it covers', async () => {
    const { get } = await start(entry(app.port))
    expect((await get('one.example.com')).text).toBe(`for one.example.com:${app.port}`)
    expect((await get('two.example.com')).text).toBe(`for two.example.com:${app.port}`)
    expect(dns.queries).toContain('one.example.com/1')
  })

  it('a name that does not exist answers 503, and the log says why', async () => {
    const { get, logLines } = await start(
      entry(app.port),
      `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "accessLogFile: /dev/stdout"}
---`,
    )
    const got = await get('missing.example.com')
    expect([got.status, got.text]).toEqual([503, 'DNS resolution failure'])
    const [line] = await logLines('default', 'client', 1)
    expect(line).toContain('503 DF dns_resolution_failure{cares_norecords:Domain_name_not_found}')
  })

  it('outboundTrafficPolicy ALLOW_ANY_DYNAMIC_DNS resolves whatever nobody has described', async () => {
    const { get } = await start(`
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}"}
---`)
    expect((await get('any.where.test')).text).toBe(`for any.where.test:${app.port}`)
  })
})
