import net from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dinghyProxy, realEnvoy } from './envoy.ts'
import { IPS, idOf, type Sidecar, startWorld, type World } from './sidecars.ts'

// A client sidecar and a server sidecar, each a real Envoy or ours, under our control plane: certificates from `dinghy sds`
// over unix sockets, ADS over TLS by those same certificates, mutual TLS between the two, and a policy that lets in one
// service account alone.

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())

describe.each([
  ['a real Envoy', 'a sidecar of ours', realEnvoy, dinghyProxy],
  ['a sidecar of ours', 'a real Envoy', dinghyProxy, realEnvoy],
  ['a sidecar of ours', 'a sidecar of ours', dinghyProxy, dinghyProxy],
] as const)('%s calls %s', (_client, _server, clientCommand, serverCommand) => {
  const running: { stop(): Promise<void> }[] = []
  let client: Sidecar
  let stranger: Sidecar
  beforeAll(async () => {
    running.push(await world.sidecar('server', serverCommand))
    client = await world.sidecar('client', clientCommand)
    running.push(client)
    stranger = await world.sidecar('stranger', clientCommand)
    running.push(stranger)
  })
  afterAll(async () => {
    for (const proxy of running.splice(0).reverse()) await proxy.stop()
    expect(world.errors()).not.toMatch(/refused/)
  })

  test('over mutual TLS, and each knows the other', async () => {
    const { status, text } = await client.get('server', world.servicePort)
    expect(status, text).toBe(200)
    expect((JSON.parse(text) as Record<string, string>)['x-forwarded-client-cert']).toMatch(
      new RegExp(`^By=${idOf('server')};Hash=[0-9a-f]{64};Subject="";URI=${idOf('client')}$`),
    )
    const stats = await client.envoy.get('/stats?filter=outbound.*server.*ssl.handshake')
    expect(stats).toMatch(/ssl\.handshake: [1-9]/)
  })

  test('another service account is turned away by the policy', async () => {
    expect(await stranger.get('server', world.servicePort)).toEqual({ status: 403, text: 'RBAC: access denied' })
  })

  test('without TLS nobody gets in', async () => {
    const socket = net.connect(world.listenPort, IPS.server)
    socket.write('GET / HTTP/1.1\r\nhost: server\r\n\r\n')
    const chunks: Buffer[] = []
    socket.on('data', (chunk) => chunks.push(chunk))
    await new Promise((resolve) => {
      socket.on('close', resolve)
      socket.on('error', resolve)
    })
    expect(Buffer.concat(chunks).toString()).toBe('')
  })
})
