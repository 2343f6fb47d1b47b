import type { LogFiles } from '../../context.ts'
import type { Http2ClientOptions } from '../../http2/client.ts'
import type { ClusterSettings } from '../cluster-config.ts'
import type { DialSettings } from '../connect.ts'
import { dial, Http1Factory, Http2Factory } from '../connect.ts'
import type { TransportSockets } from '../transport-socket.ts'
import { GrpcProbe } from './grpc-probe.ts'
import { HealthChecker, type HealthCheckerOwner, type ProbeFactory } from './health-checker.ts'
import { HttpProbe } from './http-probe.ts'
import type { HealthCheckSettings } from './settings.ts'
import { TcpProbe } from './tcp-probe.ts'

/** How the connections of a cluster's probes are made. */
export interface ProbeConnections {
  readonly dialing: DialSettings
  readonly sockets: TransportSockets
  /** How its HTTP/2 connections are made. */
  http2(): Http2ClientOptions
}

const NO_ALPN: readonly string[] = []

/** Makes the checker of a cluster; undefined: its hosts are not checked. */
export function createHealthChecker(
  owner: HealthCheckerOwner & { readonly settings: ClusterSettings },
  how: ProbeConnections,
  logs: LogFiles | undefined,
): HealthChecker | undefined {
  const { healthCheck } = owner.settings
  if (healthCheck === undefined) return undefined
  return new HealthChecker(healthCheck, owner, logs, probeFactory(healthCheck, owner.settings, how))
}

/** Makes the probes of a cluster's hosts (source/common/upstream/upstream_impl.cc createHealthCheckConnection). */
function probeFactory(settings: HealthCheckSettings, cluster: ClusterSettings, how: ProbeConnections): ProbeFactory {
  const { check, reuseConnection: reuse } = settings
  const { dialing } = how
  const { http } = cluster
  return (host, stats, report) => {
    const socket = how.sockets.resolve(settings.socketMatch ?? host.metadata)
    const at = host.check?.address
    const target = {
      host: at === undefined ? host : { address: at, pipe: undefined },
      socket,
      sni: undefined,
      alpn: settings.alpn,
      fallbackAlpn: NO_ALPN,
    }
    if (check.type === 'TCP') return new TcpProbe(check, reuse, (watcher) => dial(target, dialing, watcher), report)
    const http2 = check.type === 'GRPC' || check.http2
    const options = {
      runtime: dialing.runtime,
      host,
      authority: host.check?.hostname || (check.type === 'GRPC' ? check.authority : check.host) || cluster.name,
      secure: socket.secure,
      factory: http2 ? new Http2Factory(target, dialing, how.http2()) : new Http1Factory(target, dialing, http.http1),
      reuse,
      stats,
    }
    return check.type === 'GRPC'
      ? new GrpcProbe(check, settings.timeout, options, report)
      : new HttpProbe(check, options, report)
  }
}
