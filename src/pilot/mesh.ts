import type { MeshConfig } from '../api/kinds/mesh-config.ts'
import type { Snapshot } from '../store/store.ts'

type Defaulted =
  | 'accessLogFile'
  | 'connectTimeout'
  | 'defaultConfig'
  | 'defaultDestinationRuleExportTo'
  | 'defaultProviders'
  | 'defaultServiceExportTo'
  | 'defaultVirtualServiceExportTo'
  | 'dnsRefreshRate'
  | 'enableAutoMtls'
  | 'enableTracing'
  | 'extensionProviders'
  | 'localityLbSetting'
  | 'protocolDetectionTimeout'
  | 'proxyInboundListenPort'
  | 'proxyListenPort'
  | 'rootNamespace'
  | 'trustDomain'
  | 'trustDomainAliases'

/** MeshConfig with istiod's defaults in place. */
export type Mesh = MeshConfig & Required<Pick<MeshConfig, Defaulted>>

/** The defaults of pkg/config/mesh/mesh.go, as far as pilot reads them. */
export const MESH_DEFAULTS: Mesh = {
  accessLogFile: '',
  connectTimeout: '10s',
  defaultConfig: {},
  defaultDestinationRuleExportTo: ['*'],
  defaultProviders: {},
  defaultServiceExportTo: ['*'],
  defaultVirtualServiceExportTo: ['*'],
  dnsRefreshRate: '60s',
  enableAutoMtls: true,
  enableTracing: true,
  extensionProviders: [
    { name: 'prometheus', prometheus: {} },
    { name: 'stackdriver', stackdriver: {} },
    { name: 'envoy', envoyFileAccessLog: { path: '/dev/stdout' } },
  ],
  localityLbSetting: { enabled: true },
  protocolDetectionTimeout: '0s',
  proxyInboundListenPort: 15006,
  proxyListenPort: 15001,
  rootNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  trustDomainAliases: [],
}

/**
 * The mesh's configuration: what is written, over the defaults. Extension providers are added to the built-in ones,
 * replacing those of the same name; other lists and blocks replace (mesh.go ApplyMeshConfig).
 */
export function meshOf(snapshot: Snapshot): Mesh {
  const written = snapshot.list('MeshConfig')[0]?.spec
  if (!written) return MESH_DEFAULTS
  const providers = written.extensionProviders ?? []
  const kept = MESH_DEFAULTS.extensionProviders.filter(
    (known) => !providers.some((provider) => provider.name === known.name),
  )
  const mesh = { ...MESH_DEFAULTS, ...written, extensionProviders: [...kept, ...providers] }
  // protobuf cannot tell an empty string or zero from an absent one: both mean the default.
  mesh.rootNamespace ||= MESH_DEFAULTS.rootNamespace
  mesh.trustDomain ||= MESH_DEFAULTS.trustDomain
  mesh.proxyListenPort ||= MESH_DEFAULTS.proxyListenPort
  mesh.proxyInboundListenPort ||= MESH_DEFAULTS.proxyInboundListenPort
  return mesh
}
