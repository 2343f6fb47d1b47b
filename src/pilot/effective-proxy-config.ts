import type { MeshProxyConfig } from '../api/kinds/mesh-proxy-config.ts'
import { PROXY_CONFIG_ANNOTATION, proxySettingsOf } from '../api/proxy-settings.ts'
import { type Labels, selects } from '../registry/labels.ts'
import type { Snapshot } from '../store/store.ts'

/** Whose settings are asked for. */
export interface SettingsTarget {
  readonly namespace: string
  readonly labels: Labels
  readonly annotations: Labels
}

/**
 * What a workload's own proxy has beyond MeshConfig's defaultConfig, by rising precedence: the ProxyConfigs of the root
 * namespace and of its own, its annotation, the ProxyConfig that selects it (pilot/pkg/model/proxy_config.go
 * EffectiveProxyConfig). Of several of a kind the oldest counts.
 */
export function ownProxyConfig(snapshot: Snapshot, rootNamespace: string, target: SettingsTarget): MeshProxyConfig {
  const all = snapshot.list('ProxyConfig')
  const ofNamespace = (namespace: string): MeshProxyConfig =>
    settings(all.find(({ metadata, spec }) => metadata.namespace === namespace && !spec.selector)?.spec)
  const selecting = all.find(({ metadata, spec }) => {
    const labels = spec.selector?.matchLabels
    return (
      metadata.namespace === target.namespace &&
      labels !== undefined &&
      Object.keys(labels).length > 0 &&
      selects(labels, target.labels)
    )
  })
  const layers = [
    ofNamespace(rootNamespace),
    target.namespace === rootNamespace ? {} : ofNamespace(target.namespace),
    proxySettingsOf(target.annotations[PROXY_CONFIG_ANNOTATION]).settings,
    settings(selecting?.spec),
  ]
  return layers.reduce(mergeProxyConfig)
}

function settings(
  spec: Pick<MeshProxyConfig, 'concurrency' | 'image'> & { environmentVariables?: Record<string, string> } = {},
): MeshProxyConfig {
  const { concurrency, environmentVariables, image } = spec
  return {
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(environmentVariables ? { proxyMetadata: environmentVariables } : {}),
    ...(image ? { image } : {}),
  }
}

/** Later settings replace earlier ones field by field; of metadata and headers, each of them (pkg/config/mesh MergeProxyConfig). */
export function mergeProxyConfig(base: MeshProxyConfig, over: MeshProxyConfig): MeshProxyConfig {
  const merged: MeshProxyConfig = { ...base, ...over }
  if (base.proxyMetadata && over.proxyMetadata) {
    merged.proxyMetadata = { ...base.proxyMetadata, ...over.proxyMetadata }
  }
  const { proxyHeaders: before } = base
  if (before && over.proxyHeaders) {
    merged.proxyHeaders = { ...over.proxyHeaders }
    for (const field of KEPT) {
      const value = before[field]
      if (merged.proxyHeaders[field] === undefined && value !== undefined) {
        merged.proxyHeaders = { ...merged.proxyHeaders, [field]: value }
      }
    }
  }
  return merged
}

const KEPT = ['forwardedClientCert', 'requestId', 'attemptCount', 'server', 'envoyDebugHeaders'] as const
