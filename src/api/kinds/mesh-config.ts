import type { z } from 'zod'
import { bool, duration, int32, list, map, message, oneOf, text } from '../schema.ts'
import { ExtensionProvider } from './extension-provider.ts'
import { MeshProxyConfig } from './mesh-proxy-config.ts'
import {
  ClientTLSSettings,
  ConnectionPoolSettings,
  LocalityLoadBalancerSetting,
  OutlierDetection,
  TcpKeepalive,
  ZoneAwareLoadBalancerSetting,
} from './traffic-policy.ts'
import { HTTPRetry } from './virtual-service.ts'

/** What happens to unknown destinations; ALLOW_ANY when unset. */
export const MeshOutboundTrafficPolicy = message({
  mode: oneOf('REGISTRY_ONLY', 'ALLOW_ANY', 'ALLOW_ANY_DYNAMIC_DNS'),
  tls: ClientTLSSettings,
})
export type MeshOutboundTrafficPolicy = z.infer<typeof MeshOutboundTrafficPolicy>

/** Whether inbound connections go to the pod address (PASSTHROUGH, the default) or to localhost. */
export const MeshInboundTrafficPolicy = message({
  mode: oneOf('PASSTHROUGH', 'LOCALHOST'),
})
export type MeshInboundTrafficPolicy = z.infer<typeof MeshInboundTrafficPolicy>

/** Another source of configuration. */
export const MeshConfigSource = message({
  address: text,
  tlsSettings: ClientTLSSettings,
  subscribedResources: list(oneOf('SERVICE_REGISTRY')),
})
export type MeshConfigSource = z.infer<typeof MeshConfigSource>

/** One more root that is trusted. */
export const CertificateData = message(
  {
    pem: text,
    spiffeBundleUrl: text,
    certSigners: list(text),
    trustDomains: list(text),
  },
  [],
  [['pem', 'spiffeBundleUrl']],
)
export type CertificateData = z.infer<typeof CertificateData>

/** A DNS certificate. Deprecated. */
export const MeshCertificate = message({
  secretName: text,
  dnsNames: list(text),
})
export type MeshCertificate = z.infer<typeof MeshCertificate>

/** What is set. */
export const ServiceSettingsFlags = message({
  clusterLocal: bool,
})
export type ServiceSettingsFlags = z.infer<typeof ServiceSettingsFlags>

/** Settings of services. */
export const ServiceSettings = message({
  settings: ServiceSettingsFlags,
  hosts: list(text),
})
export type ServiceSettings = z.infer<typeof ServiceSettings>

/** key, operator (In, NotIn, Exists, DoesNotExist), values. */
export const LabelSelectorRequirement = message({
  key: text,
  operator: text,
  values: list(text),
})
export type LabelSelectorRequirement = z.infer<typeof LabelSelectorRequirement>

/** A Kubernetes label selector. */
export const LabelSelector = message({
  matchLabels: map(text),
  matchExpressions: list(LabelSelectorRequirement),
})
export type LabelSelector = z.infer<typeof LabelSelector>

/** Scope of services, by labels. */
export const ServiceScopeConfigs = message({
  namespaceSelector: LabelSelector,
  servicesSelector: LabelSelector,
  scope: oneOf('LOCAL', 'GLOBAL'),
})
export type ServiceScopeConfigs = z.infer<typeof ServiceScopeConfigs>

/** A certificate authority other than the own one. */
export const MeshCA = message({
  address: text,
  tlsSettings: ClientTLSSettings,
  requestTimeout: duration,
  istiodSide: bool,
})
export type MeshCA = z.infer<typeof MeshCA>

/** Providers where Telemetry names none. */
export const DefaultProviders = message({
  tracing: list(text),
  metrics: list(text),
  accessLogging: list(text),
})
export type DefaultProviders = z.infer<typeof DefaultProviders>

/** How paths are made canonical; BASE when unset. */
export const ProxyPathNormalization = message({
  normalization: oneOf('DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'),
})
export type ProxyPathNormalization = z.infer<typeof ProxyPathNormalization>

/** Versions and ciphers. */
export const MeshTLSConfig = message({
  minProtocolVersion: oneOf('TLS_AUTO', 'TLSV1_2', 'TLSV1_3'),
  ecdhCurves: list(text),
  cipherSuites: list(text),
})
export type MeshTLSConfig = z.infer<typeof MeshTLSConfig>

/** Seeds every traffic policy. */
export const DefaultTrafficPolicy = message({
  connectionPool: ConnectionPoolSettings,
  outlierDetection: OutlierDetection,
})
export type DefaultTrafficPolicy = z.infer<typeof DefaultTrafficPolicy>

/** Which namespaces match. */
export const VisibilityMatchRule = message(
  {
    namespaceSelector: LabelSelector,
  },
  [],
  [['namespaceSelector']],
)
export type VisibilityMatchRule = z.infer<typeof VisibilityMatchRule>

/** A visibility for what matches. */
export const VisibilityPolicy = message({
  visibility: oneOf('VISIBILITY_UNSPECIFIED', 'NONE', 'NAMESPACE', 'PUBLIC'),
  matchingRules: list(VisibilityMatchRule),
})
export type VisibilityPolicy = z.infer<typeof VisibilityPolicy>

/** Where ServiceEntries can be seen. */
export const ServiceEntryVisibility = message({
  defaultVisibility: oneOf('VISIBILITY_UNSPECIFIED', 'NONE', 'NAMESPACE', 'PUBLIC'),
  applyToSidecars: bool,
  policies: list(VisibilityPolicy),
})
export type ServiceEntryVisibility = z.infer<typeof ServiceEntryVisibility>

/** Settings of the whole mesh (mesh/v1alpha1/config.proto). Defaults are those of pkg/config/mesh/mesh.go; the pilot applies them. */
export const MeshConfig = message({
  proxyListenPort: int32,
  proxyInboundListenPort: int32,
  proxyHttpPort: int32,
  /** 10s when unset. */
  connectTimeout: duration,
  hboneIdleTimeout: duration,
  /** 0s (wait for ever) when unset. */
  protocolDetectionTimeout: duration,
  tcpKeepalive: TcpKeepalive,
  ingressClass: text,
  ingressService: text,
  ingressControllerMode: oneOf('UNSPECIFIED', 'OFF', 'DEFAULT', 'STRICT'),
  ingressSelector: text,
  enableTracing: bool,
  /** No access log when empty. */
  accessLogFile: text,
  accessLogFormat: text,
  accessLogEncoding: oneOf('TEXT', 'JSON'),
  enableEnvoyAccessLogService: bool,
  disableEnvoyListenerLog: bool,
  defaultConfig: MeshProxyConfig,
  outboundTrafficPolicy: MeshOutboundTrafficPolicy,
  inboundTrafficPolicy: MeshInboundTrafficPolicy,
  configSources: list(MeshConfigSource),
  /** true when unset. */
  enableAutoMtls: bool,
  /** cluster.local when unset. */
  trustDomain: text,
  trustDomainAliases: list(text),
  caCertificates: list(CertificateData),
  defaultServiceExportTo: list(text),
  defaultVirtualServiceExportTo: list(text),
  defaultDestinationRuleExportTo: list(text),
  /** istio-system when unset. */
  rootNamespace: text,
  localityLbSetting: LocalityLoadBalancerSetting,
  zoneAwareLbSetting: ZoneAwareLoadBalancerSetting,
  /** 60s when unset. */
  dnsRefreshRate: duration,
  h2UpgradePolicy: oneOf('DO_NOT_UPGRADE', 'UPGRADE'),
  inboundClusterStatName: text,
  outboundClusterStatName: text,
  /** Deprecated. */
  certificates: list(MeshCertificate),
  serviceSettings: list(ServiceSettings),
  serviceScopeConfigs: list(ServiceScopeConfigs),
  enablePrometheusMerge: bool,
  /** Deprecated. */
  verifyCertificateAtClient: bool,
  ca: MeshCA,
  extensionProviders: list(ExtensionProvider),
  defaultProviders: DefaultProviders,
  discoverySelectors: list(LabelSelector),
  pathNormalization: ProxyPathNormalization,
  defaultHttpRetryPolicy: HTTPRetry,
  /** For the routes from a sidecar to its application. */
  defaultInboundHttpRetryPolicy: HTTPRetry,
  meshMTLS: MeshTLSConfig,
  tlsDefaults: MeshTLSConfig,
  defaultTrafficPolicy: DefaultTrafficPolicy,
  serviceEntryVisibility: ServiceEntryVisibility,
})
export type MeshConfig = z.infer<typeof MeshConfig>
