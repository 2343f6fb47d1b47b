import type {
  IstioEgressListener,
  IstioIngressListener,
  Sidecar,
  SidecarOutboundTrafficPolicy,
} from '../kinds/sidecar.ts'
import { checkDestination } from './destination.ts'
import { checkNamespacedHost, checkServerTls } from './gateway.ts'
import {
  checkAddress,
  checkPort,
  checkPortName,
  checkProtocol,
  checkSelector,
  checkUnixPath,
  fqdnFault,
  isHttp,
  isTls,
  protocolOf,
} from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkConnectionPool } from './traffic-policy.ts'

const UNIX = 'unix://'

/** Sidecar (ValidateSidecar). */
export function checkSidecar(scope: Scope, spec: Sidecar, namespace: string): void {
  const { workloadSelector, ingress, egress, outboundTrafficPolicy, inboundConnectionPool } = spec
  checkSelector(scope.at('workloadSelector'), workloadSelector)
  if (!ingress?.length && !egress?.length && !outboundTrafficPolicy && !inboundConnectionPool) {
    scope.error('one of ingress, egress, outboundTrafficPolicy and inboundConnectionPool is needed')
  }
  const inbound = new Set<number>()
  each(scope.at('ingress'), ingress, (at, listener) => {
    checkIngress(at, listener)
    const number = listener.port.number ?? 0
    if (inbound.has(number)) at.at('port', 'number').error(`there is a listener for port ${number} already`)
    inbound.add(number)
  })
  if (inboundConnectionPool) checkConnectionPool(scope.at('inboundConnectionPool'), inboundConnectionPool)
  checkEgress(scope.at('egress'), egress ?? [], namespace)
  if (outboundTrafficPolicy) checkOutbound(scope.at('outboundTrafficPolicy'), outboundTrafficPolicy)
}

function checkIngress(scope: Scope, listener: IstioIngressListener): void {
  const { port, bind, defaultEndpoint, tls, connectionPool } = listener
  const at = scope.at('port')
  if (port.targetPort) at.at('targetPort').errorAtKey('has no effect on a Sidecar')
  if (port.name) checkPortName(at.at('name'), port.name)
  checkProtocol(at.at('protocol'), port.protocol)
  checkPort(at.at('number'), port.number)
  if (bind) checkAddress(scope.at('bind'), bind)
  if (defaultEndpoint) checkEndpoint(scope.at('defaultEndpoint'), defaultEndpoint)
  const protocol = protocolOf(port.protocol)
  if (tls) {
    const place = scope.at('tls')
    for (const field of [
      'subjectAltNames',
      'httpsRedirect',
      'credentialName',
      'credentialNames',
      'tlsCertificates',
    ] as const) {
      const value = tls[field]
      if (Array.isArray(value) ? value.length > 0 : value) place.at(field).errorAtKey('is not supported on a Sidecar')
    }
    if (tls.mode === 'ISTIO_MUTUAL' || tls.mode === 'AUTO_PASSTHROUGH')
      place.at('mode').error(`${tls.mode} is not supported on a Sidecar`)
    if (!isTls(protocol)) place.errorAtKey('goes with the protocols HTTPS and TLS alone')
    checkServerTls(place, tls)
  }
  if (connectionPool) {
    checkConnectionPool(scope.at('connectionPool'), connectionPool)
    if (connectionPool.http && !isHttp(protocol))
      scope.at('connectionPool', 'http').warnAtKey('has no effect on a port that is not HTTP')
  }
}

function checkEndpoint(scope: Scope, endpoint: string): void {
  if (endpoint.startsWith(UNIX)) {
    checkUnixPath(scope, endpoint.slice(UNIX.length))
    return
  }
  const parts = /^(\[[^\]]*\]|[^:]*):(.*)$/.exec(endpoint)
  const host = parts?.[1]?.replace(/^\[|\]$/g, '')
  if (!parts || !['', '127.0.0.1', '0.0.0.0', '::1', '::'].includes(host as string)) {
    scope.error(`"${endpoint}": must be 127.0.0.1:<port>, 0.0.0.0:<port>, [::1]:<port>, [::]:<port> or unix://<path>`)
  } else if (!/^\d+$/.test(parts[2] as string)) scope.error(`"${endpoint}": "${parts[2]}" is no port`)
  else checkPort(scope, Number(parts[2]))
}

function checkEgress(scope: Scope, listeners: readonly IstioEgressListener[], namespace: string): void {
  const ports = new Set<number>()
  const sockets = new Set<string>()
  let portless = false
  each(scope, listeners, (at, listener, i) => {
    const { port, bind = '', captureMode = 'DEFAULT' } = listener
    if (!port) {
      if (portless) at.error('there is a listener without a port already')
      else if (i < listeners.length - 1) at.error('the listener without a port must be the last one')
      portless = true
    } else {
      if (port.targetPort) at.at('port', 'targetPort').errorAtKey('has no effect on a Sidecar')
      if (port.name) checkPortName(at.at('port', 'name'), port.name)
      checkProtocol(at.at('port', 'protocol'), port.protocol)
      const number = port.number ?? 0
      if (number === 0) {
        if (!bind.startsWith(UNIX)) at.at('port').errorAtKey('needs a number, or a unix socket in bind')
        else checkUnixPath(at.at('bind'), bind.slice(UNIX.length))
        if (captureMode === 'IPTABLES') at.at('captureMode').error('a unix socket is not captured: DEFAULT or NONE')
        if (sockets.has(bind)) at.at('bind').error(`there is a listener on "${bind}" already`)
        sockets.add(bind)
      } else {
        checkPort(at.at('port', 'number'), number)
        if (bind) checkAddress(at.at('bind'), bind)
        if (ports.has(number)) at.at('port', 'number').error(`there is a listener for port ${number} already`)
        ports.add(number)
      }
    }
    checkHosts(at.at('hosts'), listener.hosts, namespace)
  })
}

function checkHosts(scope: Scope, hosts: readonly string[], namespace: string): void {
  if (hosts.length === 0) scope.errorAtKey('one host at least is needed')
  const seen = new Map<string, Set<string>>()
  each(scope, hosts, (at, host) => {
    checkNamespacedHost(at, host, false)
    const slash = host.indexOf('/')
    if (slash < 0 || host.startsWith('~')) return
    const place = host.slice(0, slash) === '.' ? namespace : host.slice(0, slash)
    const name = host.slice(slash + 1)
    const names = seen.get(place) ?? new Set<string>()
    seen.set(place, names)
    if (names.has(name) || names.has('*') || (name === '*' && names.size > 0))
      at.warn(`"${host}" overlaps another entry`)
    names.add(name)
  })
  if (seen.get('*')?.has('*') && seen.size > 1)
    scope.warnAtKey('"*/*" takes everything: the other entries have no effect')
}

function checkOutbound(scope: Scope, { mode, egressProxy }: SidecarOutboundTrafficPolicy): void {
  if (!egressProxy) return
  const at = scope.at('egressProxy')
  // An unset mode is the enum's zero, which is REGISTRY_ONLY.
  if (mode !== 'ALLOW_ANY') at.errorAtKey('needs "mode: ALLOW_ANY" beside it')
  const fault = fqdnFault(egressProxy.host)
  if (fault !== undefined) at.at('host').error(fault)
  if (!egressProxy.port) at.errorAtKey('port is needed')
  else if (fault === undefined) checkDestination(at, egressProxy)
}
