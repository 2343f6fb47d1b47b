import net from 'node:net'
import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ClientStreamHandler } from '../../src/proxy/http/codec.ts'
import { RequestHead } from '../../src/proxy/http/headers.ts'
import { identityBook, type Transport } from '../../src/proxy/listener/connection.ts'
import { StatsStore } from '../../src/proxy/observe/stats.ts'
import { SecretStore } from '../../src/proxy/tls/secrets.ts'
import type { Cluster } from '../../src/proxy/upstream/cluster.ts'
import { type ClusterControl, createClusterManager } from '../../src/proxy/upstream/cluster-manager.ts'
import type { Resolver } from '../../src/proxy/upstream/resolver.ts'
import type { Runtime } from '../../src/runtime.ts'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { type Init, make } from '../../src/xds/messages.ts'
import { lbContext } from './upstream-hosts.ts'

/** A cluster manager with everything that it needs. */
export interface World {
  readonly runtime: Runtime
  readonly stats: StatsStore
  readonly secrets: SecretStore
  readonly clusters: ClusterControl
  value(stat: string): number
}

/** Makes one; with a test runtime, time stands still. */
export function world(options: { runtime?: Runtime; resolver?: Resolver } = {}): World {
  const runtime = options.runtime ?? new SystemRuntime()
  const stats = new StatsStore()
  const secrets = new SecretStore(() => runtime.wallNow())
  const clusters = createClusterManager({ runtime, stats, secrets, book: identityBook, resolver: options.resolver })
  const value = (stat: string) => stats.counters.get(stat)?.value ?? stats.gauges.get(stat)?.value ?? Number.NaN
  return { runtime, stats, secrets, clusters, value }
}

/** A STATIC cluster `a` with endpoints on these ports of 127.0.0.1. */
export function staticCluster(
  ports: readonly number[],
  more: Init<'envoy.config.cluster.v3.Cluster'> = {},
): ClusterProto {
  return make('envoy.config.cluster.v3.Cluster', {
    name: 'a',
    clusterDiscoveryType: { case: 'type', value: 0 },
    loadAssignment: assignment('a', ports),
    ...(more as object),
  })
}

/** An EDS cluster `a`. */
export function edsCluster(more: Init<'envoy.config.cluster.v3.Cluster'> = {}): ClusterProto {
  return make('envoy.config.cluster.v3.Cluster', {
    name: 'a',
    clusterDiscoveryType: { case: 'type', value: 3 },
    edsClusterConfig: { edsConfig: { configSourceSpecifier: { case: 'ads', value: {} } } },
    ...(more as object),
  })
}

/** A load assignment with endpoints on these ports of 127.0.0.1. */
export function assignment(clusterName: string, ports: readonly number[], endpoint: object = {}) {
  return make('envoy.config.endpoint.v3.ClusterLoadAssignment', {
    clusterName,
    endpoints: [
      {
        lbEndpoints: ports.map((port) => ({
          ...endpoint,
          hostIdentifier: { case: 'endpoint', value: { address: address(port) } },
        })),
      },
    ],
  } as Init<'envoy.config.endpoint.v3.ClusterLoadAssignment'>)
}

function address(port: number): object {
  return {
    address: {
      case: 'socketAddress',
      value: { address: '127.0.0.1', portSpecifier: { case: 'portValue', value: port } },
    },
  }
}

/** Listens on a free port. */
export function listen(server: net.Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as net.AddressInfo).port))
  })
}

/** A port that nobody listens on. */
export async function closedPort(): Promise<number> {
  const server = net.createServer()
  const port = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** How a TCP connection attempt ended: the transport, or `reason: details`. */
export function connectTcp(cluster: Cluster): Promise<Transport | string> {
  const context = lbContext()
  const host = cluster.chooseHost(context)
  if (host === undefined) return Promise.resolve('no host')
  return new Promise((resolve) => {
    cluster.connect(host, context, {
      onConnected: (transport) => {
        transport.handler = { onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClose: () => {} }
        resolve(transport)
      },
      onConnectFailure: (reason, details) => resolve(details === undefined ? reason : `${reason}: ${details}`),
    })
  })
}

/** How one request ended. */
export interface Outcome {
  /** `200 body`, or why it failed. */
  readonly result: string
  readonly connection: number | undefined
}

/** A request under way. */
export interface Sent {
  readonly done: Promise<Outcome>
  /** Gives up: resets the stream, or leaves the queue. */
  cancel(): void
}

/** Sends a GET through the cluster's pools, as the router does. */
export function send(
  cluster: Cluster,
  changes: Parameters<typeof lbContext>[0] = {},
  priority: 'default' | 'high' = 'default',
): Sent {
  const context = lbContext(changes)
  const host = cluster.chooseHost(context)
  if (host === undefined)
    return { done: Promise.resolve({ result: 'no host', connection: undefined }), cancel: () => {} }
  let cancel = () => {}
  const done = new Promise<Outcome>((resolve) => {
    let connection: number | undefined
    let status = 0
    let body = ''
    const handler: ClientStreamHandler = {
      onInterim: () => {},
      onHeaders: (head, end) => {
        status = head.status
        if (end) resolve({ result: `${status} `, connection })
      },
      onData: (chunk, end) => {
        body += Buffer.from(chunk).toString()
        if (end) resolve({ result: `${status} ${body}`, connection })
      },
      onTrailers: () => resolve({ result: `${status} ${body}`, connection }),
      onReset: (reason) => resolve({ result: reason, connection }),
      onWritable: () => {},
    }
    const pending = cluster.newStream(host, context, priority, 'HTTP/1.1', handler, {
      onPoolReady: (stream, _host, info) => {
        connection = info.id
        cancel = () => stream.reset()
        stream.sendHeaders(RequestHead.create('GET', '/', 'svc.test'), true)
      },
      onPoolFailure: (reason, details) =>
        resolve({ result: details === undefined ? reason : `${reason}: ${details}`, connection }),
    })
    if (pending !== undefined && connection === undefined) cancel = () => pending.cancel()
  })
  return { done, cancel: () => cancel() }
}

/** Sends one and waits for its result. */
export async function get(cluster: Cluster, changes: Parameters<typeof lbContext>[0] = {}): Promise<string> {
  return (await send(cluster, changes).done).result
}
