import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { head, inboundOf, sendRaw } from './support/attacker.ts'
import { client, pod, startMesh, type TestMesh } from './support/mesh.ts'

const policy = (spec: string, name = 'default', namespace = 'default', created = '2026-01-01T00:00:00Z') => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: "${created}"}
spec: {${spec}}
---`

const meshConfig = `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    accessLogFormat: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_PEER_URI_SAN%\\n"
---`

const backend = `
apiVersion: v1
kind: Service
metadata: {name: backend}
spec:
  selector: {app: backend}
  ports:
  - {name: http, port: 9080}
  - {name: tcp, port: 9081}
  - {name: whatever, port: 9082}
---`
const selected = 'selector: {matchLabels: {app: backend}}'

/** A server that answers HTTP, echoes other text, and tells of TLS that reaches it. */
async function app(): Promise<{ port: number; gotTls: () => boolean; close(): void }> {
  let hello = false
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (data) => {
      if (data[0] === 22) {
        hello = true
        socket.destroy()
      } else if (data.includes('HTTP/1.1'))
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok')
      else socket.end(data)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as net.AddressInfo).port,
    gotTls() {
      const was = hello
      hello = false
      return was
    },
    close: () => server.close(),
  }
}

const closed = (socket: net.Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()))

/** Sends text that is no HTTP: `echo` when it comes back. */
async function sendText(to: { host: string; port: number }): Promise<string> {
  const socket = net.connect(to)
  let got = ''
  let end = 'closed'
  socket.on('data', (data) => {
    got += data
  })
  socket.on('error', (error: NodeJS.ErrnoException) => {
    end = error.code ?? ''
  })
  socket.write('hello there\n')
  await closed(socket)
  return got === 'hello there\n' ? 'echo' : got === '' ? end : got.slice(0, 12)
}

describe('PeerAuthentication by port and protocol', () => {
  let mesh: TestMesh
  let server: Awaited<ReturnType<typeof app>>
  beforeAll(async () => {
    server = await app()
    const at = [9080, 9081, 9082, 9083].map((port) => `${port}=127.0.0.1:${server.port}`).join(',')
    mesh = await startMesh(
      {
        'mesh.yaml': [
          client(),
          backend,
          meshConfig,
          pod('backend', 'v1', { annotations: `dinghy.dev/app: "${at}"` }).replace(
            '{containerPort: 9080}',
            '{containerPort: 9080}, {containerPort: 9081}, {containerPort: 9082}, {containerPort: 9083}',
          ),
        ].join(''),
        'policy.yaml': '',
      },
      { watch: true },
    )
  })
  afterAll(async () => {
    await mesh?.stop()
    server?.close()
  })

  const ports = { http: 9080, tcp: 9081, auto: 9082, 'no service': 9083 }
  const plainHttp = async (port: number) => {
    const { statuses, end } = await sendRaw(inboundOf(mesh, 'backend-v1', port), head('/', 'backend'))
    return statuses[0] ?? end
  }
  /** What ordinary TLS comes to: `app` when it is passed on as it is. */
  const ordinaryTls = async (port: number) => {
    server.gotTls()
    const socket = tls.connect({ ...inboundOf(mesh, 'backend-v1', port), rejectUnauthorized: false, servername: 'x' })
    socket.on('error', () => {})
    socket.on('secureConnect', () => socket.write(head('/')))
    let answered = false
    socket.on('data', () => {
      answered = true
    })
    await closed(socket)
    return server.gotTls() ? 'app' : answered ? 'answered' : 'closed'
  }
  const mutual = async (port: number) => (await mesh.get('client', `http://backend:${port}/`)).status

  type Row = [mode: string, port: keyof typeof ports, http: number | string, text: string, ordinary: string]
  const RESET = 'ECONNRESET'
  const table: Row[] = [
    ['STRICT', 'http', RESET, RESET, 'closed'],
    ['STRICT', 'tcp', RESET, RESET, 'closed'],
    ['STRICT', 'auto', RESET, RESET, 'closed'],
    ['STRICT', 'no service', RESET, RESET, 'closed'],
    ['PERMISSIVE', 'http', 200, 'HTTP/1.1 400', 'closed'],
    ['PERMISSIVE', 'tcp', 200, 'echo', 'app'],
    ['PERMISSIVE', 'auto', 200, 'echo', 'app'],
    ['PERMISSIVE', 'no service', 200, 'echo', 'app'],
    ['DISABLE', 'http', 200, 'HTTP/1.1 400', 'closed'],
    // Nobody looks for TLS there: its bytes are bytes.
    ['DISABLE', 'tcp', 200, 'echo', 'app'],
    ['DISABLE', 'auto', 200, 'echo', 'app'],
    ['DISABLE', 'no service', 200, 'echo', 'app'],
    ['UNSET', 'http', 200, 'HTTP/1.1 400', 'closed'],
    ['UNSET', 'tcp', 200, 'echo', 'app'],
  ]
  let inForce = ''
  it.each(table)(
    '%s on a port with %s: plain HTTP %s, other text %s, ordinary TLS %s',
    async (mode, kind, ...expected) => {
      if (inForce !== mode) await mesh.write('policy.yaml', policy(`mtls: {mode: ${mode}}`))
      inForce = mode
      const port = ports[kind]
      expect([
        await plainHttp(port),
        await sendText(inboundOf(mesh, 'backend-v1', port)),
        await ordinaryTls(port),
      ]).toEqual(expected)
      if (kind !== 'no service') expect(await mutual(port)).toBe(200)
    },
  )

  it('plain text to STRICT is told as NR in the log of the listener, and counted', async () => {
    await mesh.write('policy.yaml', policy('mtls: {mode: STRICT}'))
    inForce = 'STRICT'
    const { admin } = mesh.mesh.workloads().find((w) => w.name === 'backend-v1')!
    const count = async () => {
      const stats = await (await fetch(`http://${admin}/stats?filter=no_filter_chain_match`)).text()
      return stats
        .trim()
        .split('\n')
        .reduce((sum, line) => sum + Number(line.split(': ')[1] ?? 0), 0)
    }
    const before = await count()
    await mutual(9080)
    expect(await plainHttp(9080)).toBe(RESET)
    expect(await count()).toBe(before + 1)
    await vi.waitFor(async () => {
      expect(await mesh.logLines('default', 'backend-v1', 1)).toContain('0 NR filter_chain_not_found -')
    })
  })

  describe('of several policies', () => {
    const strict = 'mtls: {mode: STRICT}'
    const disable = 'mtls: {mode: DISABLE}'
    const permissive = 'mtls: {mode: PERMISSIVE}'
    const unset = 'mtls: {mode: UNSET}'
    const old = '2026-01-01T00:00:00Z'
    const young = '2026-02-01T00:00:00Z'
    it.each<[what: string, policies: string[], http: number | string, tcp: number | string]>([
      [
        'the older of a namespace',
        [policy(strict, 'b', 'default', old), policy(disable, 'a', 'default', young)],
        RESET,
        RESET,
      ],
      ['the first by name of equals', [policy(strict, 'a'), policy(permissive, 'b')], RESET, RESET],
      [
        'the older of a workload',
        [
          policy(`${selected}, ${permissive}`, 'b', 'default', old),
          policy(`${selected}, ${strict}`, 'a', 'default', young),
        ],
        200,
        200,
      ],
      ['none of the root namespace with a selector', [policy(`${selected}, ${strict}`, 'w', 'istio-system')], 200, 200],
      ['the namespace’s before the mesh’s', [policy(strict, 'default', 'istio-system'), policy(permissive)], 200, 200],
      [
        'the mesh’s, where the namespace says UNSET',
        [policy(strict, 'default', 'istio-system'), policy(unset)],
        RESET,
        RESET,
      ],
      [
        'the mesh’s, where nothing else is said',
        [policy(strict, 'default', 'istio-system'), policy('mtls: {}')],
        RESET,
        RESET,
      ],
      [
        'the namespace’s, where the workload says UNSET',
        [policy(strict), policy(`${selected}, ${unset}`, 'w')],
        RESET,
        RESET,
      ],
      ['none of another namespace', [policy(strict, 'default', 'other')], 200, 200],
      [
        'a port’s before its workload’s',
        [policy(`${selected}, ${strict}, portLevelMtls: {9081: {mode: PERMISSIVE}}`, 'w')],
        RESET,
        200,
      ],
      [
        'its workload’s where a port says UNSET',
        [policy(`${selected}, ${strict}, portLevelMtls: {9081: {mode: UNSET}}`, 'w')],
        RESET,
        RESET,
      ],
      [
        'a port’s, where the workload says nothing',
        [policy(permissive), policy(`${selected}, portLevelMtls: {9080: {mode: STRICT}}`, 'w')],
        RESET,
        200,
      ],
    ])('%s counts', async (_, policies, http, tcp) => {
      await mesh.write('policy.yaml', policies.join(''))
      inForce = ''
      expect([await plainHttp(9080), await plainHttp(9081)]).toEqual([http, tcp])
      expect([await mutual(9080), await mutual(9081)]).toEqual([200, 200])
    })
  })

  describe('clients', () => {
    afterEach(() => mesh.write('policy.yaml', ''))
    const san = async (port = 9080) => {
      const before = (await mesh.logLines('default', 'backend-v1', 1)).length
      expect(await mutual(port)).toBe(200)
      return (await mesh.logLines('default', 'backend-v1', before + 1)).at(-1)!.split(' ')[3]
    }
    it('show their certificate by themselves unless the server’s policy is DISABLE', async () => {
      const id = 'spiffe://cluster.local/ns/default/sa/client'
      for (const [spec, expected] of [
        ['mtls: {mode: STRICT}', id],
        ['mtls: {mode: PERMISSIVE}', id],
        ['mtls: {mode: DISABLE}', '-'],
        [`${selected}, mtls: {mode: PERMISSIVE}, portLevelMtls: {9080: {mode: DISABLE}}`, '-'],
        [`${selected}, mtls: {mode: DISABLE}, portLevelMtls: {9080: {mode: STRICT}}`, id],
      ]) {
        await mesh.write('policy.yaml', policy(spec!))
        inForce = ''
        expect([spec, await san()]).toEqual([spec, expected])
      }
    })
  })

  it('policies that change under load lose no request', async () => {
    const modes = ['STRICT', 'PERMISSIVE', 'STRICT', 'DISABLE', 'PERMISSIVE', 'STRICT']
    let stop = false
    const statuses: number[] = []
    const load = Promise.all(
      Array.from({ length: 3 }, async () => {
        while (!stop) statuses.push(await mutual(9080))
      }),
    )
    for (const mode of modes) await mesh.write('policy.yaml', policy(`mtls: {mode: ${mode}}`))
    stop = true
    await load
    expect(statuses.length).toBeGreaterThan(modes.length)
    expect(statuses.filter((status) => status !== 200)).toEqual([])
  })
})
