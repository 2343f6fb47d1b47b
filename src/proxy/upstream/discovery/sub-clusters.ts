import { clone } from '@bufbuild/protobuf'
import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Runtime, Timer } from '../../../runtime.ts'
import { make, schemaOf } from '../../../xds/messages.ts'
import type { Cluster, DynamicForward, LoadBalancerContext } from '../cluster.ts'
import type { Host } from '../host.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { PickableCluster } from './aggregate.ts'
import type { Discovery, DiscoverySink } from './discovery.ts'
import { splitAuthority } from './dns-cache.ts'
import { nameOf } from './dynamic-forward-proxy.ts'

/** Clusters that clusters make; CDS knows nothing of them. */
export interface ClusterMaker {
  get(name: string): PickableCluster | undefined
  /** Throws ConfigError. */
  addInternal(config: ClusterProto): void
  removeInternal(name: string): void
  /** Calls `fn` each time a cluster has become active. */
  onWarm(fn: (name: string) => void): { close(): void }
}

/** Times in ms. */
export interface SubClusterSettings {
  readonly max: number
  readonly ttl: number
  readonly lbPolicy: number
}

const STRICT_DNS = 1

/** Each name that requests ask for becomes a cluster of its own (sub_clusters_config of a dynamic forward proxy). */
export class SubClusterDiscovery implements Discovery {
  readonly forward: DynamicForward
  private readonly settings: SubClusterSettings
  private readonly config: ClusterProto
  private readonly maker: ClusterMaker
  private readonly runtime: Runtime
  private readonly sink: DiscoverySink
  private readonly lastUsed = new Map<string, number>()
  private readonly owners = new WeakMap<Host, Cluster>()
  private readonly waiting = new Map<string, Set<() => void>>()
  private timer: Timer | undefined
  private subscription: { close(): void } | undefined

  constructor(
    settings: SubClusterSettings,
    config: ClusterProto,
    secure: boolean,
    maker: ClusterMaker,
    runtime: Runtime,
    sink: DiscoverySink,
  ) {
    this.settings = settings
    this.config = config
    this.maker = maker
    this.runtime = runtime
    this.sink = sink
    this.forward = {
      defaultPort: secure ? 443 : 80,
      cached: false,
      open: (host, port, ready) => this.open(host, port, ready),
    }
  }

  start(): void {
    this.subscription = this.maker.onWarm((name) => {
      const ready = this.waiting.get(name)
      this.waiting.delete(name)
      for (const fn of ready ?? []) fn()
    })
    this.arm()
    this.sink.discovered()
  }

  stop(): void {
    this.timer?.cancel()
    this.subscription?.close()
    for (const name of this.lastUsed.keys()) this.maker.removeInternal(name)
    this.lastUsed.clear()
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    const key = nameOf(context, this.forward.defaultPort)
    if (key === undefined) return undefined
    const { name, port } = splitAuthority(key)
    const cluster = this.maker.get(subName(name, port ?? this.forward.defaultPort))
    const host = cluster?.pick(context)
    if (host !== undefined) this.owners.set(host, cluster!)
    return host
  }

  ownerOf(host: Host): Cluster | undefined {
    return this.owners.get(host)
  }

  private open(host: string, port: number, ready: () => void): 'ready' | 'overflow' | { cancel(): void } {
    const name = subName(host, port)
    const known = this.lastUsed.has(name)
    if (!known && this.lastUsed.size >= this.settings.max) return 'overflow'
    this.lastUsed.set(name, this.runtime.now())
    if (known && this.maker.get(name) !== undefined) return 'ready'
    const waiting = this.waiting.get(name) ?? new Set()
    this.waiting.set(name, waiting)
    waiting.add(ready)
    if (!known) this.maker.addInternal(this.configOf(name, host, port))
    return { cancel: () => waiting.delete(ready) }
  }

  /** The parent's config, with one name to resolve. */
  private configOf(name: string, host: string, port: number): ClusterProto {
    const config = clone(schemaOf(this.config.$typeName), this.config) as unknown as ClusterProto
    config.name = name
    config.clusterDiscoveryType = { case: 'type', value: STRICT_DNS }
    config.lbPolicy = this.settings.lbPolicy
    config.loadAssignment = make('envoy.config.endpoint.v3.ClusterLoadAssignment', {
      clusterName: name,
      endpoints: [
        {
          lbEndpoints: [
            {
              hostIdentifier: {
                case: 'endpoint',
                value: {
                  address: {
                    address: {
                      case: 'socketAddress',
                      value: { address: host, portSpecifier: { case: 'portValue', value: port } },
                    },
                  },
                },
              },
            },
          ],
        },
      ],
    })
    return config
  }

  /** Drops the clusters of names that nobody has asked for in a while. */
  private arm(): void {
    this.timer = this.runtime.after(this.settings.ttl, () => {
      const now = this.runtime.now()
      for (const [name, used] of this.lastUsed) {
        if (now - used <= this.settings.ttl) continue
        this.lastUsed.delete(name)
        this.maker.removeInternal(name)
      }
      this.arm()
    })
  }
}

function subName(host: string, port: number): string {
  return `DFPCluster:${host}:${port}`
}
