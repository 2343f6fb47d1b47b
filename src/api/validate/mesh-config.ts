import { parseDuration } from '../duration.ts'
import type { ExtensionProvider } from '../kinds/extension-provider.ts'
import type { MeshConfig } from '../kinds/mesh-config.ts'
import { checkNamespacedHost } from './gateway.ts'
import { checkRetry } from './http-action.ts'
import { checkLocality, checkZoneAware } from './locality.ts'
import { checkPort, fqdnFault, isAddress, isLabel, wildcardFault } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkConnectionPool, checkOutlierDetection } from './traffic-policy.ts'
import { checkTrustAnchor } from './trust-anchor.ts'
import { checkDuration } from './values.ts'

/** MeshConfig (agent.ValidateMeshConfig). */
export function checkMeshConfig(scope: Scope, spec: MeshConfig): void {
  for (const field of ['proxyListenPort', 'proxyInboundListenPort'] as const) {
    if (spec[field] !== undefined) checkPort(scope.at(field), spec[field])
  }
  if (spec.connectTimeout !== undefined) {
    const at = scope.at('connectTimeout')
    checkDuration(at, spec.connectTimeout)
    const ms = parseDuration(spec.connectTimeout)
    if (ms > 3_600_000) at.error(`must be at most 1h, is ${spec.connectTimeout}`)
  }
  checkDuration(scope.at('protocolDetectionTimeout'), spec.protocolDetectionTimeout, { zero: true })
  const { defaultConfig, defaultTrafficPolicy, localityLbSetting, zoneAwareLbSetting } = spec
  if (defaultConfig) {
    const at = scope.at('defaultConfig')
    for (const field of ['proxyAdminPort', 'statusPort'] as const) {
      if (defaultConfig[field] !== undefined) checkPort(at.at(field), defaultConfig[field])
    }
    const drain = defaultConfig.drainDuration
    checkDuration(at.at('drainDuration'), drain)
    if (drain !== undefined && parseDuration(drain) % 1000 !== 0)
      at.at('drainDuration').error('only whole seconds are supported')
  }
  // Outlier detection is a matter of each service: nothing to warn of here.
  if (localityLbSetting) checkLocality(scope.at('localityLbSetting'), localityLbSetting, {})
  if (zoneAwareLbSetting) checkZoneAware(scope.at('zoneAwareLbSetting'), zoneAwareLbSetting, {})
  each(scope.at('serviceSettings'), spec.serviceSettings, (at, { hosts }) => {
    each(at.at('hosts'), hosts, (place, host) => {
      const fault = wildcardFault(host)
      if (fault !== undefined) place.error(fault)
    })
  })
  if (spec.trustDomain !== undefined) checkTrustDomain(scope.at('trustDomain'), spec.trustDomain)
  each(scope.at('trustDomainAliases'), spec.trustDomainAliases, checkTrustDomain)
  if (spec.meshMTLS?.ecdhCurves) scope.at('meshMTLS', 'ecdhCurves').errorAtKey('is not supported by Istio')
  if (defaultTrafficPolicy?.connectionPool) {
    checkConnectionPool(scope.at('defaultTrafficPolicy', 'connectionPool'), defaultTrafficPolicy.connectionPool)
  }
  if (defaultTrafficPolicy?.outlierDetection) {
    checkOutlierDetection(scope.at('defaultTrafficPolicy', 'outlierDetection'), defaultTrafficPolicy.outlierDetection)
  }
  checkRetry(scope.at('defaultHttpRetryPolicy'), spec.defaultHttpRetryPolicy)
  checkRetry(scope.at('defaultInboundHttpRetryPolicy'), spec.defaultInboundHttpRetryPolicy)
  each(scope.at('caCertificates'), spec.caCertificates, checkTrustAnchor)
  checkProviders(scope.at('extensionProviders'), spec.extensionProviders ?? [])
}

function checkTrustDomain(scope: Scope, domain: string): void {
  const parts = domain.replace(/\.$/, '').split('.')
  if (!parts.every(isLabel)) scope.error(domain === '' ? 'must not be empty' : `"${domain}" is no trust domain`)
}

/** istiod only warns of these in its log: they matter where a provider is used. */
function checkProviders(scope: Scope, providers: readonly ExtensionProvider[]): void {
  const names = new Set<string>()
  each(scope, providers, (at, provider) => {
    const { name = '' } = provider
    if (name === '') at.warn('name is needed')
    else if (names.has(name)) at.at('name').warn(`a provider "${name}" is there already`)
    names.add(name)
    const kinds = Object.keys(provider).filter((field) => field !== 'name')
    if (kinds.length === 0)
      at.warn('no provider: one such as envoyExtAuthzHttp, zipkin or envoyFileAccessLog is needed')
    for (const kind of kinds) {
      const settings = provider[kind as keyof ExtensionProvider]
      if (typeof settings === 'object' && 'service' in settings) checkService(at.at(kind), settings)
    }
  })
}

function checkService(
  scope: Scope,
  { service = '', port }: { service?: string | undefined; port?: number | undefined },
): void {
  const at = scope.at('service')
  if (service.includes('/')) checkNamespacedHost(at, service, false)
  else if (fqdnFault(service) !== undefined && !isAddress(service))
    at.warn(`"${service}" is neither a DNS name nor an IP address`)
  if (port === undefined || port < 1 || port > 65535) scope.at('port').warn('a port is a number from 1 to 65535')
}
