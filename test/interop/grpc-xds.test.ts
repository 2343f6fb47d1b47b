import { Client, credentials, Server, ServerCredentials, type ServiceError } from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { type GrpcListener, serveAds } from '../../src/xds/grpc-server.ts'
import { grpcService } from '../../src/xds/grpc-service.ts'
import { make, packed } from '../../src/xds/messages.ts'
import { CLUSTER_TYPE } from '../../src/xds/resource-types.ts'
import { AdsServer } from '../../src/xds/server.ts'
import type { Nack } from '../../src/xds/server-subscription.ts'
import type { Snapshot } from '../../src/xds/snapshot.ts'
import { connectionManager, edsCluster, endpoints, routes, snapshot } from '../support/xds-resources.ts'

// A proxyless gRPC client, @grpc/grpc-js-xds, which nobody here wrote: it asks by name, state-of-the-world.
const CA = 'istio.v1.auth.IstioCertificateService'
const service = grpcService(CA)
const nacks: { typeUrl: string; nack: Nack }[] = []
const backends: Server[] = []
let listener: GrpcListener
let server: AdsServer
let client: Client
let current: Snapshot
let ports: number[]

async function backend(name: string): Promise<number> {
  const grpc = new Server()
  grpc.addService(service, {
    createCertificate: (_: unknown, done: (error: null, response: unknown) => void) =>
      done(null, make('istio.v1.auth.IstioCertificateResponse', { certChain: [name] })),
  })
  backends.push(grpc)
  return new Promise((resolve, reject) =>
    grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (e, port) => (e ? reject(e) : resolve(port))),
  )
}

function call(): Promise<string> {
  const { path, requestSerialize, responseDeserialize } = service.createCertificate!
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      make('istio.v1.auth.IstioCertificateRequest', { csr: 'x' }),
      { deadline: Date.now() + 10_000 },
      (error: ServiceError | null, response?: { certChain: string[] }) =>
        error ? reject(error) : resolve(response!.certChain[0]!),
    ),
  )
}

function resources(clusters: Record<string, number>, weights: Record<string, number>, extra = {}): Snapshot {
  return snapshot(
    packed('envoy.config.listener.v3.Listener', {
      name: 'certificates',
      apiListener: { apiListener: connectionManager('certificate-routes') },
    }),
    routes('certificate-routes', weights),
    ...Object.keys(clusters).map((name) => edsCluster(name, extra)),
    ...Object.entries(clusters).map(([name, port]) => endpoints(name, port)),
  )
}

function push(next: Snapshot): void {
  current = next
  for (const connection of server.connections) connection.push(next)
}

async function until(what: () => boolean | Promise<boolean>) {
  const deadline = Date.now() + 10_000
  while (!(await what())) {
    if (Date.now() > deadline) throw new Error(`it did not come to pass: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

beforeAll(async () => {
  ports = [await backend('one'), await backend('two')]
  current = resources({ one: ports[0]! }, { one: 1 })
  server = new AdsServer({
    runtime: new SystemRuntime(),
    source: {
      connected: (connection) => connection.push(current),
      nacked: (_, typeUrl, nack) => nacks.push({ typeUrl, nack }),
    },
  })
  listener = await serveAds(server, '127.0.0.1:0')
  process.env.GRPC_XDS_BOOTSTRAP_CONFIG = JSON.stringify({
    xds_servers: [{ server_uri: listener.address, channel_creds: [{ type: 'insecure' }], server_features: ['xds_v3'] }],
    node: { id: 'sidecar~127.0.0.1~grpc.default~default.svc.cluster.local', locality: {} },
  })
  const { register } = await import('@grpc/grpc-js-xds')
  register()
  client = new Client('xds:///certificates', credentials.createInsecure())
})

afterAll(async () => {
  client?.close()
  await listener?.close()
  for (const grpc of backends) grpc.forceShutdown()
})

test('a call to xds:///certificates finds its way through our ADS server to the backend', async () => {
  expect(await call()).toBe('one')
  const [connection] = server.connections
  expect(connection!.mode).toBe('sotw')
  await until(() => connection!.synced)
  expect(connection!.status().map(({ names }) => names.join())).toEqual([
    'one',
    'one',
    'certificates',
    'certificate-routes',
  ])
})

test('its routes follow a push to another cluster', async () => {
  push(resources({ one: ports[0]!, two: ports[1]! }, { two: 1 }))
  await until(async () => (await call()) === 'two')
})

test('it refuses a broken resource, the server says so, and calls go on over the last good one', async () => {
  await until(() => server.connections[0]!.synced)
  // Round robin is all that gRPC has for a policy by enum; MAGLEV is none of its own.
  push(resources({ two: ports[1]! }, { two: 1 }, { lbPolicy: 5 }))
  await until(() => nacks.length > 0)
  expect(nacks[0]!.typeUrl).toBe(CLUSTER_TYPE)
  expect(nacks[0]!.nack.message).toContain('unsupported lb_policy: MAGLEV')
  const status = server.connections[0]!.status().find(({ typeUrl }) => typeUrl === CLUSTER_TYPE)!
  expect(status.nack?.message).toBe(nacks[0]!.nack.message)
  expect(status.ackedVersion).not.toBe(status.sentVersion)
  expect(await call()).toBe('two')
})
