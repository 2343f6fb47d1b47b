import type { ConnectionPoolSettings, RetryBudget, TcpKeepalive } from '../../api/kinds/traffic-policy.ts'
import type { Init } from '../../xds/messages.ts'
import type { Mesh } from '../mesh.ts'
import { duration, seconds } from '../proto.ts'
import { type ClusterDraft, http2Of, setClientProtocol } from './draft.ts'

/** «No limit», as istiod writes it. */
const UNLIMITED = 0xffffffff

/**
 * Limits and timeouts of connections; 0 stands for unset in all of them
 * (networking/core/cluster_traffic_policy.go applyConnectionPool).
 */
export function applyConnectionPool(
  target: ClusterDraft,
  settings: ConnectionPoolSettings,
  options: { mesh: Mesh; retryBudget?: RetryBudget; preserveCase: boolean },
): void {
  const { tcp, http } = settings
  const { cluster } = target
  cluster.connectTimeout = duration(tcp?.connectTimeout ?? options.mesh.connectTimeout)
  cluster.circuitBreakers = {
    thresholds: [
      {
        maxConnections: positive(tcp?.maxConnections) ?? UNLIMITED,
        maxPendingRequests: positive(http?.http1MaxPendingRequests) ?? UNLIMITED,
        maxRequests: positive(http?.http2MaxRequests) ?? UNLIMITED,
        maxRetries: positive(http?.maxRetries) ?? UNLIMITED,
        retryBudget: options.retryBudget && {
          budgetPercent: { value: options.retryBudget.percent ?? 20 },
          minRetryConcurrency: positive(options.retryBudget.minRetryConcurrency) ?? 3,
        },
      },
    ],
  }
  applyKeepalive(target, options.mesh.tcpKeepalive)
  applyKeepalive(target, tcp?.tcpKeepalive)
  applyHttp(target, settings)
  if (http?.useClientProtocol) setClientProtocol(target, options.preserveCase)
}

function applyHttp(target: ClusterDraft, { tcp, http }: ConnectionPoolSettings): void {
  const idleTimeout = http?.idleTimeout ?? tcp?.idleTimeout
  const maxRequestsPerConnection = positive(http?.maxRequestsPerConnection)
  const maxConnectionDuration = tcp?.maxConnectionDuration
  const maxConcurrentStreams = positive(http?.maxConcurrentStreams)
  const keepalive = http?.http2KeepAlive
  if (!idleTimeout && !maxRequestsPerConnection && !maxConnectionDuration && !maxConcurrentStreams && !keepalive) return
  const common: Init<'envoy.config.core.v3.HttpProtocolOptions'> = { ...target.http?.commonHttpProtocolOptions }
  if (idleTimeout) common.idleTimeout = duration(idleTimeout)
  if (maxRequestsPerConnection) common.maxRequestsPerConnection = maxRequestsPerConnection
  if (maxConnectionDuration) common.maxConnectionDuration = duration(maxConnectionDuration)
  target.http = { ...target.http, commonHttpProtocolOptions: common }
  const http2 = http2Of(target)
  if (!http2) return
  if (maxConcurrentStreams) http2.maxConcurrentStreams = maxConcurrentStreams
  if (keepalive) {
    http2.connectionKeepalive = { interval: duration(keepalive.interval), timeout: duration(keepalive.timeout) }
  }
}

function applyKeepalive(target: ClusterDraft, settings: TcpKeepalive | undefined): void {
  if (!settings) return
  const known = target.cluster.upstreamConnectionOptions?.tcpKeepalive
  const tcpKeepalive: Init<'envoy.config.core.v3.TcpKeepalive'> = { ...known }
  if (settings.probes) tcpKeepalive.keepaliveProbes = settings.probes
  if (settings.time) tcpKeepalive.keepaliveTime = seconds(settings.time)
  if (settings.interval) tcpKeepalive.keepaliveInterval = seconds(settings.interval)
  target.cluster.upstreamConnectionOptions = { tcpKeepalive }
}

const positive = (n: number | undefined): number | undefined => (n !== undefined && n > 0 ? n : undefined)
