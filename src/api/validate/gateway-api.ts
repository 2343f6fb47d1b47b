import net from 'node:net'
import type { BackendTLSPolicy } from '../kinds/gateway-api/backend-tls-policy.ts'
import type { KubernetesGateway, Listener } from '../kinds/gateway-api/gateway.ts'
import type { TLSRoute } from '../kinds/gateway-api/layer4-routes.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'

/** The rules of the CRDs that types do not tell (config/crd/experimental: x-kubernetes-validations). */

/** Listeners of a Gateway or ListenerSet. */
export function checkListeners(scope: Scope, listeners: readonly Listener[]): void {
  each(scope, listeners, (at, listener, index) => {
    const { protocol, tls, hostname, name, port } = listener
    const earlier = listeners.slice(0, index)
    if (['HTTP', 'TCP', 'UDP'].includes(protocol) && tls) {
      at.at('tls').error(`must not be specified for protocol ${protocol}`)
    }
    if (protocol === 'HTTPS' && tls && tls.mode !== 'Terminate') {
      at.at('tls', 'mode').error('must be Terminate for protocol HTTPS')
    }
    if (protocol === 'TLS' && !tls?.mode) at.error('tls.mode must be set for protocol TLS')
    if (['TCP', 'UDP'].includes(protocol) && hostname) {
      at.at('hostname').error(`must not be specified for protocol ${protocol}`)
    }
    if (earlier.some((other) => other.name === name)) at.at('name').error(`"${name}" is the name of another listener`)
    const same = (other: Listener) => other.port === port && other.protocol === protocol && other.hostname === hostname
    if (earlier.some(same)) at.error('port, protocol and hostname must differ from those of every other listener')
    if (tls?.mode === 'Terminate' && !tls.certificateRefs?.length && !Object.keys(tls.options ?? {}).length) {
      at.at('tls').error('certificateRefs or options must be specified when mode is Terminate')
    }
  })
}

/** A Gateway of the Gateway API. */
export function checkKubernetesGateway(scope: Scope, spec: KubernetesGateway): void {
  checkListeners(scope.at('listeners'), spec.listeners)
  each(scope.at('addresses'), spec.addresses, (at, { type, value }, index) => {
    const twice = spec.addresses?.slice(0, index).some((other) => other.type === type && other.value === value)
    if (twice && value !== undefined) at.at('value').error(`"${value}" is asked for twice`)
    if (
      type === 'Hostname' &&
      value &&
      !/^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(value)
    ) {
      at.at('value').error(`"${value}" is no host name`)
    }
  })
  each(scope.at('tls', 'frontend', 'perPort'), spec.tls?.frontend?.perPort, (at, { port }, index) => {
    const earlier = spec.tls?.frontend?.perPort?.slice(0, index)
    if (earlier?.some((other) => other.port === port)) at.at('port').error(`port ${port} is there twice`)
  })
  if (spec.defaultScope === 'All') {
    scope.at('defaultScope').warnAtKey('has no effect: Istio attaches no routes to Gateways by default')
  }
  if (spec.tls?.backend?.clientCertificateRef) {
    scope.at('tls', 'backend', 'clientCertificateRef').warnAtKey('has no effect: Istio checks it, and shows its own')
  }
}

/** A BackendTLSPolicy. */
export function checkBackendTLSPolicy(scope: Scope, { targetRefs, validation }: BackendTLSPolicy): void {
  each(scope.at('targetRefs'), targetRefs, (at, ref, index) => {
    const others = targetRefs
      .slice(0, index)
      .filter(({ group, kind, name }) => group === ref.group && kind === ref.kind && name === ref.name)
    if (others.some(({ sectionName }) => !sectionName || !ref.sectionName)) {
      at.error('sectionName must be specified when targetRefs includes 2 or more references to the same target')
    } else if (others.some(({ sectionName }) => sectionName === ref.sectionName)) {
      at.at('sectionName').error(`"${ref.sectionName}" is there twice`)
    }
  })
  const at = scope.at('validation')
  const hasRefs = Boolean(validation.caCertificateRefs?.length)
  const known = Boolean(validation.wellKnownCACertificates)
  if (hasRefs && known) at.error('must not contain both caCertificateRefs and wellKnownCACertificates')
  if (!hasRefs && !known) at.error('must specify either caCertificateRefs or wellKnownCACertificates')
  each(at.at('subjectAltNames'), validation.subjectAltNames, (place, { type, hostname, uri }) => {
    const [wanted, other] = type === 'URI' ? (['uri', 'hostname'] as const) : (['hostname', 'uri'] as const)
    const values = { hostname, uri }
    if (!values[wanted]) place.error(`must contain ${wanted} when type is ${type}`)
    if (values[other]) place.at(other).errorAtKey(`must not be there when type is ${type}`)
  })
}

/** Host names of a TLSRoute; the older versions may go without. */
export function checkTLSRouteHosts(scope: Scope, { hostnames }: TLSRoute, apiVersion: string): void {
  if (!hostnames?.length && apiVersion.endsWith('/v1')) scope.error('required field "hostnames" is missing')
  each(scope.at('hostnames'), hostnames, (at, host) => {
    if (net.isIP(host)) at.error('must not be an IP address')
  })
}
