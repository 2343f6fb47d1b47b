import net from 'node:net'
import tls from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { makeAuthority, makeIdentity } from './support/certificates.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'
import { Client, eventually } from './support/proxy.ts'

const cleanup: (() => unknown)[] = []
let mesh: TestMesh | undefined
afterEach(async () => {
  for (const fn of cleanup.splice(0).reverse()) await fn()
  await mesh?.stop()
  mesh = undefined
})

/** A TCP server of a test, outside the mesh; `onData` answers. */
async function server(onConnect: (socket: net.Socket) => void): Promise<number> {
  const listening = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    onConnect(socket)
  })
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
  cleanup.push(() => listening.close())
  return (listening.address() as net.AddressInfo).port
}

const saying = (name: string) => (socket: net.Socket) => {
  socket.on('data', (data) => socket.write(`${name}:${data}`))
  socket.on('end', () => socket.end())
}

/** A connection from a workload to a service address. */
async function connect(from: string, host: string, port: number): Promise<Client> {
  const [known] = mesh!.mesh.registry.byHostname(host)?.values() ?? []
  const ip = known ? (known.address === '0.0.0.0' ? known.autoAddress : known.address) : host
  const at = await mesh!.mesh.captureOf(from, ip, port)
  const c = new Client(at.port, at.host)
  cleanup.push(() => c.destroy())
  return c
}

const entry = (name: string, spec: string) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}}
spec: {${spec}}
---`

const at = (port: number) => `resolution: STATIC, endpoints: [{address: 127.0.0.1, ports: {tcp: ${port}}}]`
const TCP = 'ports: [{number: 5000, name: tcp, protocol: TCP}]'

describe('a TCP route', () => {
  test('splits connections by weight', async () => {
    const [a, b] = [await server(saying('a')), await server(saying('b'))]
    mesh = await startMesh(
      client() +
        entry('x', `hosts: [x.example], ${TCP}, ${at(a)}`) +
        entry('y', `hosts: [y.example], addresses: [10.50.0.2], ${TCP}, ${at(b)}`) +
        `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec:
  hosts: [x.example]
  tcp: [{route: [{destination: {host: x.example}, weight: 50}, {destination: {host: y.example}, weight: 50}]}]
---`,
      { seed: 7 },
    )
    const seen = new Set<string>()
    for (let i = 0; i < 20; i++) {
      const c = await connect('client', 'x.example', 5000)
      c.write('hi')
      await c.receives(':hi')
      seen.add(c.text)
      c.destroy()
    }
    expect([...seen].sort()).toEqual(['a:hi', 'b:hi'])
  })

  test('by SNI, leaves TLS as it is', async () => {
    const authority = await makeAuthority('CN=tests')
    const identity = await makeIdentity(authority, 'CN=one', [{ type: 'dns', value: 'one.example' }])
    const secure = tls.createServer({ key: identity.key, cert: identity.cert }, (socket) =>
      socket.end(`hello ${(socket as tls.TLSSocket & { servername?: string }).servername}`),
    )
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve))
    cleanup.push(() => secure.close())
    const { port } = secure.address() as net.AddressInfo
    mesh = await startMesh(
      client() +
        entry('x', `hosts: [one.example], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE`) +
        entry('y', `hosts: [real.example], addresses: [10.50.0.3], ${TCP}, ${at(port)}`) +
        `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec:
  hosts: [one.example]
  tls: [{match: [{sniHosts: [one.example]}], route: [{destination: {host: real.example, port: {number: 5000}}}]}]
---`,
    )
    const { host, port: captured } = await mesh.mesh.captureOf('client', '10.99.0.1', 443)
    const said = await new Promise<string>((resolve, reject) => {
      const socket = tls.connect({ host, port: captured, servername: 'one.example', rejectUnauthorized: false })
      let text = ''
      socket.on('data', (data) => {
        text += data
      })
      socket.on('end', () => resolve(text))
      socket.on('error', reject)
    })
    expect(said).toBe('hello one.example')
  })
})

test("a DestinationRule's tunnel carries connections through an HTTP proxy", async () => {
  const heads: string[] = []
  const port = await server((socket) => {
    let head = ''
    socket.on('data', (data) => {
      if (head.endsWith('\r\n\r\n')) {
        socket.write(`tunnelled:${data}`)
        return
      }
      head += data
      if (!head.endsWith('\r\n\r\n')) return
      heads.push(head)
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
    })
  })
  mesh = await startMesh(
    client() +
      entry('db', `hosts: [db.example], ${TCP}, resolution: DNS`) +
      entry(
        'proxy',
        `hosts: [proxy.example], addresses: [10.50.0.4], ports: [{number: 3128, name: tcp, protocol: TCP}], ${at(port)}`,
      ) +
      `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: proxy}
spec:
  host: proxy.example
  subsets: [{name: to-db, trafficPolicy: {tunnel: {protocol: CONNECT, targetHost: db.example, targetPort: 5000}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.example]
  tcp: [{route: [{destination: {host: proxy.example, port: {number: 3128}, subset: to-db}}]}]
---`,
  )
  const c = await connect('client', 'db.example', 5000)
  c.write('select 1')
  await c.receives('tunnelled:select 1')
  expect(heads).toEqual(['CONNECT db.example:5000 HTTP/1.1\r\nhost: db.example:5000\r\n\r\n'])
})

describe('a port whose protocol nobody has told', () => {
  const auto = service('a', 'default', { name: 'x', port: 9080 })

  test('carries HTTP, routed, and anything else, as bytes, through both sidecars', async () => {
    mesh = await startMesh(auto + pod('a', 'v1') + client())
    const got = await mesh.get('client', 'http://a:9080/', { headers: { host: 'whatever' } })
    expect(got.status).toBe(200)
    expect(got.echo!.request.headers['x-forwarded-client-cert']).toContain('sa/client')
    const c = await connect('client', 'a.default.svc.cluster.local', 9080)
    c.write('not http at all\n')
    await c.receives('not http at all\n')
    c.socket.end()
    await c.ended
    expect(c.text).toBe('not http at all\n')
  })

  const greeting = async () => {
    const port = await server((socket) => {
      socket.write('220 ready\n')
      socket.on('data', () => {})
    })
    return pod('a', 'v1', { annotations: `dinghy.dev/app: "9080=127.0.0.1:${port}"` })
  }

  test('waits for a client whose server wants to speak first, but for as long as the mesh says', async () => {
    const config = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "protocolDetectionTimeout: 0.1s"}
---`
    mesh = await startMesh(config + auto + (await greeting()) + client())
    const c = await connect('client', 'a.default.svc.cluster.local', 9080)
    await c.receives('220 ready\n')
  })

  test('hangs where the mesh sets no limit; told to be TCP, it does not', async () => {
    const app = await greeting()
    mesh = await startMesh({ 'a.yaml': auto + app + client() }, { watch: true })
    const c = await connect('client', 'a.default.svc.cluster.local', 9080)
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(c.text).toBe('')
    c.destroy()
    await mesh.write('a.yaml', service('a', 'default', { name: 'tcp', port: 9080 }) + app + client())
    const again = await connect('client', 'a.default.svc.cluster.local', 9080)
    await again.receives('220 ready\n')
  })
})

test('limits of connections and of their time hold for TCP', async () => {
  mesh = await startMesh(
    service('a', 'default', { name: 'tcp', port: 9080 }) +
      pod('a', 'v1') +
      client() +
      `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1, idleTimeout: 0.2s}}}
---`,
  )
  const first = await connect('client', 'a.default.svc.cluster.local', 9080)
  first.write('one')
  await first.receives('one')
  const second = await connect('client', 'a.default.svc.cluster.local', 9080)
  second.write('two')
  await second.ended
  expect(second.text).toBe('')
  await first.ended
  await eventually(() => first.text === 'one')
})

describe('programs that honour http_proxy', () => {
  const connectBy = async (target: string) => {
    const { httpProxy } = mesh!.mesh.workloads().find(({ name }) => name === 'client')!
    const [host = '', port] = httpProxy!.split(':')
    const c = new Client(Number(port), host)
    cleanup.push(() => c.destroy())
    c.write(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n\r\n`)
    return c
  }

  test('reach TCP services, and HTTP ones as bytes, by CONNECT', async () => {
    mesh = await startMesh(
      service('db', 'default', { name: 'tcp', port: 9080 }) +
        pod('db', 'v1') +
        service('a') +
        pod('a', 'v1') +
        client(),
    )
    const c = await connectBy('db:9080')
    await c.receives('HTTP/1.1 200 OK')
    c.write('hello\n')
    await c.receives('\r\n\r\nhello\n')
    const h = await connectBy('a.default.svc.cluster.local:9080')
    await h.receives('HTTP/1.1 200 OK')
    h.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await h.receives('"workload"')
    expect(h.text).toContain('sa/client')
  })

  test('get 404 where there is no such service', async () => {
    mesh = await startMesh(service('a') + pod('a', 'v1') + client())
    const c = await connectBy('nowhere:1234')
    await c.receives('HTTP/1.1 404')
  })
})
