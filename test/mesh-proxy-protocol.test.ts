import { once } from 'node:events'
import net from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { client, startMesh, type TestMesh } from './support/mesh.ts'

describe('proxyProtocol of a DestinationRule', () => {
  let mesh: TestMesh | undefined
  let server: net.Server | undefined
  afterEach(async () => {
    await mesh?.stop()
    server?.close()
  })

  it.each([
    ['V1', /^PROXY TCP4 10\.244\.\d+\.\d+ 240\.240\.\d+\.\d+ \d+ 7000\r\nhello/],
    ['V2', /^\r\n\r\n\0\r\nQUIT\n[\s\S]{16}hello/],
  ])('%s tells the server who connects, before the first byte', async (version, expected) => {
    let got = ''
    server = net.createServer((socket) => {
      socket.setEncoding('latin1').on('data', (chunk: string) => {
        got += chunk
        if (got.endsWith('hello')) socket.end('bye')
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    mesh = await startMesh(`${client()}
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  addresses: [240.240.7.7]
  ports: [{number: 7000, name: tcp, protocol: TCP, targetPort: ${port}}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec: {host: db.example.com, trafficPolicy: {proxyProtocol: {version: ${version}}}}
`)
    const socket = net.connect(await mesh.mesh.captureOf('client', '240.240.7.7', 7000))
    socket.write('hello')
    expect(String((await once(socket, 'data'))[0])).toBe('bye')
    socket.destroy()
    expect(got).toMatch(expected)
  })
})
