import { parseDuration } from '../api/duration.ts'
import type { MeshProxyConfig } from '../api/kinds/mesh-proxy-config.ts'
import { mergeProxyConfig, ownProxyConfig } from '../pilot/effective-proxy-config.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import type { Workload } from '../registry/model.ts'
import type { InterceptionMode } from './capture-rules.ts'

/** Where a sidecar serves programs that honour `http_proxy`, unless MeshConfig says otherwise. */
const HTTP_PROXY_PORT = 15002
const DRAIN_DURATION_MS = 45_000
const TERMINATION_DRAIN_MS = 5000

/** What a sidecar is started with, besides its workload: what the injector writes into a pod. */
export interface SidecarSettings {
  readonly interception: InterceptionMode
  /** ms that connections of a replaced listener may go on. */
  readonly drainDuration: number
  /** ms that requests may take to finish when the pod goes. */
  readonly terminationDrain: number
  readonly httpProxyPort: number
  readonly meshId: string
  /** Most connections that the proxy accepts; 0: no limit. */
  readonly connectionLimit: number
  /** What it has of its own beyond MeshConfig's defaultConfig: its PROXY_CONFIG. */
  readonly own: MeshProxyConfig
  /** More node metadata, from ISTIO_META_… variables. */
  readonly metadata: Readonly<Record<string, string>>
  readonly runtimeValues: Readonly<Record<string, string>>
  /** Ports on which a Sidecar makes it listen, or behind which it expects the app. */
  readonly ports: readonly number[]
}

/** The settings of a workload's sidecar (pkg/kube/inject, pkg/bootstrap/config.go). */
export function sidecarSettings(push: PushContext, workload: Workload): SidecarSettings {
  const { mesh, snapshot } = push
  const own = ownProxyConfig(snapshot, mesh.rootNamespace, workload)
  const config = mergeProxyConfig(mesh.defaultConfig, own)
  const variables = config.proxyMetadata ?? {}
  const annotated = workload.annotations['sidecar.istio.io/interceptionMode']
  const mode = annotated ?? config.interceptionMode
  const duration = (text: string | undefined, otherwise: number) => (text ? parseDuration(text) : otherwise)
  return {
    interception: mode === 'NONE' || mode === 'TPROXY' ? mode : 'REDIRECT',
    drainDuration: duration(config.drainDuration, DRAIN_DURATION_MS),
    terminationDrain: duration(config.terminationDrainDuration, TERMINATION_DRAIN_MS),
    httpProxyPort: mesh.proxyHttpPort || HTTP_PROXY_PORT,
    meshId: config.meshId || mesh.trustDomain,
    connectionLimit: connectionLimit(config),
    own,
    metadata: Object.fromEntries(
      Object.entries(variables).flatMap(([name, value]) =>
        name.startsWith('ISTIO_META_') ? [[name.slice('ISTIO_META_'.length), value]] : [],
      ),
    ),
    runtimeValues: config.runtimeValues ?? {},
    ports: ingressPorts(push, workload),
  }
}

// The setting, the older variable, the runtime key that is older still (pkg/bootstrap/config.go).
function connectionLimit(config: MeshProxyConfig): number {
  const stated = config.connectionSettings?.globalDownstreamConnectionLimit
  if (stated !== undefined && stated > 0) return stated
  const texts = [
    config.proxyMetadata?.ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS,
    config.runtimeValues?.['overload.global_downstream_max_connections'],
  ]
  for (const text of texts) if (text !== undefined && /^\d+$/.test(text.trim())) return Number(text)
  return 0
}

function ingressPorts(push: PushContext, workload: Workload): number[] {
  const sidecar = workload.gateway ? undefined : push.sidecarFor(workload)
  return (sidecar?.spec.ingress ?? []).flatMap(({ port, defaultEndpoint }) => {
    const app = /^(?:127\.0\.0\.1|0\.0\.0\.0|\[?::1?\]?):(\d+)$/.exec(defaultEndpoint ?? '')
    return [...(port.number ? [port.number] : []), ...(app ? [Number(app[1])] : [])]
  })
}
