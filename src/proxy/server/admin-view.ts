import type { Message } from '@bufbuild/protobuf'
import type { HttpConnectionManager } from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type {
  AdminView,
  ListenerView,
  RefusedCluster,
  RefusedResource,
  ServerState,
  VersionedResource,
} from '../admin/view.ts'
import type { ExtensionSubscriptions } from '../ecds/subscriptions.ts'
import type { DrainState } from '../listener/drain-state.ts'
import type { ListenerManager, ListenerVersion, ManagedListener } from '../listener/listener-manager.ts'
import { openTypedConfig } from '../listener/typed-filter.ts'
import type { StatsStore } from '../observe/stats.ts'
import { type TagProducer, tagProducer } from '../observe/tags.ts'
import { contextsOf } from '../tls/common-context.ts'
import { daysUntilFirst } from '../tls/expiry.ts'
import type { SecretStore } from '../tls/secrets.ts'
import type { ClusterControl } from '../upstream/cluster-manager.ts'
import type { ProxyServerOptions } from './options.ts'
import type { RouteTable } from './route-table.ts'

const HCM = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
const LEVELS = ['trace', 'debug', 'info', 'warning', 'warn', 'error', 'critical', 'off']

/** The parts of a proxy that the admin interface shows. */
export interface AdminSource {
  readonly options: ProxyServerOptions
  readonly stats: StatsStore
  readonly clusters: ClusterControl
  readonly listeners: ListenerManager
  readonly routes: RouteTable
  readonly secrets: SecretStore
  readonly extensions: ExtensionSubscriptions
  readonly drain: DrainState
  readonly drainTime: number
  readonly started: number
  readonly state: ServerState
  readonly ads:
    | {
        readonly cdsVersion: string
        readonly ldsVersion: string
        refusedClusters(): readonly RefusedCluster[]
        publishStats(): void
      }
    | undefined
  reopenLogs(): void
}

/** What the admin interface sees of a proxy. */
export function adminView(server: AdminSource): AdminView {
  const { options, drain } = server
  const { bootstrap, runtime } = options
  let level = 'info'
  let tags: TagProducer | undefined
  return {
    runtime,
    get stats() {
      server.ads?.publishStats()
      publishServerStats(server)
      return server.stats
    },
    node: bootstrap.node,
    version: options.version ?? 'dinghy',
    started: server.started,
    commandLineOptions: options.commandLineOptions ?? {},
    bootstrap: { name: '', message: bootstrap, version: '', updated: server.started },
    get tags() {
      tags ??= tagProducer(bootstrap.statsConfig)
      return tags
    },
    state: () => server.state,
    clusters: () => server.clusters.describe(),
    clusterEntries: () => server.clusters.entries(),
    refusedClusters: () => server.ads?.refusedClusters() ?? [],
    cdsVersion: () => server.ads?.cdsVersion ?? '',
    ldsVersion: () => server.ads?.ldsVersion ?? '',
    listeners: () => server.listeners.all().map(listenerView),
    routesUsed: () => server.routes.wanted.length > 0 || inlineRoutes(server).length > 0,
    staticRoutes: () => inlineRoutes(server),
    dynamicRoutes: () => server.routes.resources(),
    secrets: () => server.secrets.entries(),
    extensionConfigs: () => server.extensions.dump(),
    certificates: () => [...contextsOf(server.secrets)].filter(({ ready }) => ready).map(({ shown }) => shown),
    capture: options.capture,
    failHealthcheck(fail) {
      drain.failed = fail
    },
    drainListeners({ graceful, inboundOnly, skipExit }) {
      if (!graceful) {
        server.listeners.stopListening(inboundOnly)
        return
      }
      if (!drain.start()) return
      if (skipExit) return
      runtime.after(server.drainTime, () => server.listeners.stopListening(inboundOnly))
    },
    reopenLogs: () => server.reopenLogs(),
    logLevel: () => level,
    setLogLevel(wanted) {
      if (!LEVELS.includes(wanted)) return false
      level = wanted
      return true
    },
    quit: () => options.onQuit?.(),
  }
}

/** Gauges of `server.` (source/server/server.h) that are only looked up when somebody asks. */
function publishServerStats(server: AdminSource): void {
  const { runtime, commandLineOptions } = server.options
  const gauge = (name: string, value: number) => server.stats.gauge(`server.${name}`).set(value)
  const memory = process.memoryUsage()
  gauge('uptime', Math.floor((runtime.wallNow() - server.started) / 1000))
  gauge('concurrency', Number(commandLineOptions?.concurrency ?? 1))
  gauge('memory_allocated', memory.heapUsed)
  gauge('memory_heap_size', memory.heapTotal)
  gauge('memory_physical_size', memory.rss)
  let connections = 0
  for (const { active } of server.listeners.all()) connections += active?.listener.connections ?? 0
  gauge('total_connections', connections)
  const shown = [...contextsOf(server.secrets)].filter(({ ready }) => ready).map((context) => context.shown)
  gauge('days_until_first_cert_expiring', daysUntilFirst(shown, runtime.wallNow()))
}

function listenerView(managed: ManagedListener): ListenerView {
  const { error, active } = managed
  return {
    name: managed.name,
    dynamic: managed.dynamic,
    active: active && versioned(active),
    warming: managed.warming && versioned(managed.warming),
    draining: undefined,
    error: error && refused(error),
    addresses: (active?.listener.addresses ?? []).map((address) => {
      const bound = address.port === 0 ? managed.sockets.boundFor(address) : undefined
      return bound ? { ip: address.ip, port: bound.port } : address
    }),
  }
}

function versioned({ listener, version, updated }: ListenerVersion): VersionedResource {
  return { name: listener.name, message: listener.proto, version, updated }
}

function refused(error: NonNullable<ManagedListener['error']>): RefusedResource {
  return { message: error.proto, details: error.details, attempted: error.attempted, version: error.version }
}

/** Route configurations that stand inside connection managers. */
function inlineRoutes(server: AdminSource): VersionedResource[] {
  const found: VersionedResource[] = []
  for (const { active } of server.listeners.all()) {
    for (const chain of active?.listener.chains ?? []) {
      for (const filter of chain.proto.filters) {
        if (filter.configType.case === 'configDiscovery') continue
        const { typeName, message } = openTypedConfig(filter)
        const inline = typeName === HCM ? inlineRoute(message) : undefined
        if (inline) found.push({ name: inline.name, message: inline, version: '', updated: active!.updated })
      }
    }
  }
  return found
}

function inlineRoute(message: Message): (Message & { name: string }) | undefined {
  const { routeSpecifier } = message as HttpConnectionManager
  return routeSpecifier.case === 'routeConfig' ? routeSpecifier.value : undefined
}
