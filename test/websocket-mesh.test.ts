import { createHash } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { addressOf, gatewayYaml } from './support/gateway.ts'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = createHash('sha1').update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

/** A frame of text under 126 bytes, masked as clients have to. */
function textFrame(text: string): Buffer {
  const mask = Buffer.from([1, 2, 3, 4])
  const payload = Buffer.from(text).map((byte, i) => byte ^ mask[i % 4]!)
  return Buffer.concat([Buffer.from([0x81, 0x80 | payload.length]), mask, payload])
}

/** What an unmasked frame of the server says. */
const textOf = (frame: Buffer) => frame.subarray(2, 2 + (frame[1]! & 0x7f)).toString()

describe('a WebSocket', () => {
  let server: http.Server
  let annotations: string
  let mesh: TestMesh
  const sockets = new Set<Duplex>()

  beforeAll(async () => {
    server = http.createServer((_request, response) => response.writeHead(426).end())
    server.on('upgrade', (request, socket, head) => {
      sockets.add(socket)
      const accept = createHash('sha1').update(
        `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`,
      )
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept.digest('base64')}\r\nx-path: ${request.url}\r\n\r\n`,
      )
      const answer = (frame: Buffer) => {
        const mask = frame.subarray(2, 6)
        const text = Buffer.from(frame.subarray(6).map((byte, i) => byte ^ mask[i % 4]!))
        socket.write(Buffer.concat([Buffer.from([0x81, text.length + 4]), Buffer.from('re: '), text]))
      }
      socket.on('data', answer).on('error', () => {})
      if (head.length > 0) answer(head)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    annotations = `dinghy.dev/app: "9080=127.0.0.1:${(server.address() as net.AddressInfo).port}"`
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await mesh?.stop()
  })
  afterAll(() => server.close())

  /** Opens a WebSocket by hand: what came of the handshake, and a way to send and to receive. */
  async function open(to: net.NetConnectOpts, host: string) {
    const socket = net.connect(to)
    sockets.add(socket)
    socket.write(
      `GET /chat HTTP/1.1\r\nhost: ${host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: ${KEY}\r\n\r\n`,
    )
    const [head] = (await once(socket, 'data')) as [Buffer]
    return {
      head: head.toString(),
      socket,
      async say(text: string) {
        const answer = once(socket, 'data') as Promise<[Buffer]>
        socket.write(textFrame(text))
        return textOf((await answer)[0])
      },
    }
  }
  const base = () => [
    client(),
    service('chat').replace('spec:', 'spec:\n  clusterIP: 10.96.7.7'),
    pod('chat', 'v1', { annotations }),
  ]

  it('goes through two sidecars, both ways, and ends when the app ends it', async () => {
    mesh = await startMesh(base().join(''))
    const { head, say, socket } = await open(await mesh.mesh.captureOf('client', '10.96.7.7', 9080), 'chat:9080')
    expect(head).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/)
    expect(head).toContain(`sec-websocket-accept: ${ACCEPT}`)
    expect(await say('hello')).toBe('re: hello')
    expect(await say('again')).toBe('re: again')
    const ended = once(socket, 'close')
    for (const other of sockets) if (other !== socket) other.end()
    await ended
  })

  // istiod does not allow extended CONNECT at sidecars, so that Envoy ends the connection.
  it('does not get through with h2UpgradePolicy UPGRADE, as with Istio', async () => {
    const rule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: chat}
spec: {host: chat, trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}}
---`
    mesh = await startMesh([...base(), rule].join(''))
    const { head } = await open(await mesh.mesh.captureOf('client', '10.96.7.7', 9080), 'chat:9080')
    expect(head).toMatch(/^HTTP\/1\.1 503 [\s\S]*reset reason: connection termination$/)
  })

  it('comes in by a gateway, by the path of a VirtualService', async () => {
    const entry = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: chat}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{match: [{uri: {prefix: /chat}}], rewrite: {uri: /ws}, route: [{destination: {host: chat, port: {number: 9080}}}]}]
---`
    mesh = await startMesh([...base(), gatewayYaml(), entry].join(''))
    const { head, say } = await open(addressOf(mesh, 'istio-ingressgateway', 8080), 'chat.example.com')
    expect(head).toMatch(/^HTTP\/1\.1 101 /)
    expect(head).toContain('x-path: /ws')
    expect(await say('hello')).toBe('re: hello')
  })
})
