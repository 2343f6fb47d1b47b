import type {
  ClientTLSSettings,
  ConnectionPoolSettings,
  LoadBalancerSettings,
  OutlierDetection,
  PortTrafficPolicy,
  TrafficPolicy,
} from '../kinds/traffic-policy.ts'
import { checkLocality, checkZoneAware } from './locality.ts'
import { checkPort, fqdnFault, isAddress, isLabel } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkDuration, checkNotNegative, checkPercent } from './values.ts'

/** A traffic policy, at the top or of a subset (validateTrafficPolicy). */
export function checkTrafficPolicy(scope: Scope, policy: TrafficPolicy, namespace: string): void {
  if (Object.keys(policy).length === 0) {
    scope.errorAtKey('must not be empty')
    return
  }
  if (policy.tunnel && policy.proxyProtocol) scope.at('proxyProtocol').errorAtKey('excludes tunnel')
  checkBlocks(scope, policy, namespace)
  each(scope.at('portLevelSettings'), policy.portLevelSettings, (at, setting) => {
    if (!setting.port) at.error('port is needed')
    else checkPort(at.at('port', ...(setting.port.number === undefined ? [] : ['number'])), setting.port.number)
    const blocks = [setting.loadBalancer, setting.connectionPool, setting.outlierDetection, setting.tls]
    if (blocks.every((block) => block === undefined)) {
      at.error('one of loadBalancer, connectionPool, outlierDetection and tls is needed')
    } else checkBlocks(at, setting, namespace)
  })
  const { tunnel, retryBudget } = policy
  if (tunnel) {
    const at = scope.at('tunnel')
    if (tunnel.protocol && tunnel.protocol !== 'CONNECT' && tunnel.protocol !== 'POST') {
      at.at('protocol').error(`must be CONNECT or POST, not "${tunnel.protocol}"`)
    }
    if (fqdnFault(tunnel.targetHost) !== undefined && !isAddress(tunnel.targetHost)) {
      at.at('targetHost').error(`"${tunnel.targetHost}" is neither a DNS name nor an IP address`)
    }
    checkPort(at.at('targetPort'), tunnel.targetPort)
  }
  if (retryBudget) checkPercent(scope.at('retryBudget', 'percent'), retryBudget.percent)
}

function checkBlocks(scope: Scope, policy: TrafficPolicy | PortTrafficPolicy, namespace: string): void {
  const { connectionPool, loadBalancer, outlierDetection, tls } = policy
  if (outlierDetection) checkOutlierDetection(scope.at('outlierDetection'), outlierDetection)
  if (connectionPool) checkConnectionPool(scope.at('connectionPool'), connectionPool)
  if (loadBalancer) checkLoadBalancer(scope.at('loadBalancer'), loadBalancer, outlierDetection)
  if (tls) checkClientTls(scope.at('tls'), tls, namespace)
}

/** Outlier detection (validateOutlierDetection). */
export function checkOutlierDetection(scope: Scope, detection: OutlierDetection): void {
  checkDuration(scope.at('baseEjectionTime'), detection.baseEjectionTime)
  checkDuration(scope.at('interval'), detection.interval)
  if (detection.consecutiveErrors) {
    scope
      .at('consecutiveErrors')
      .warnAtKey('is deprecated, and has no effect: write consecutive5xxErrors or consecutiveGatewayErrors')
  }
  if (!detection.splitExternalLocalOriginErrors && (detection.consecutiveLocalOriginFailures ?? 0) > 0) {
    scope.at('consecutiveLocalOriginFailures').errorAtKey('needs "splitExternalLocalOriginErrors: true" beside it')
  }
  checkPercent(scope.at('maxEjectionPercent'), detection.maxEjectionPercent)
  checkPercent(scope.at('minHealthPercent'), detection.minHealthPercent)
  each(scope.at('outlierDetectionHttpErrorCodes'), detection.outlierDetectionHttpErrorCodes, (at, code) => {
    if (code < 100 || code > 599) at.error(`a status is a number from 100 to 599, not ${code}`)
  })
}

/** Connection pools (validateConnectionPool). */
export function checkConnectionPool(scope: Scope, pool: ConnectionPoolSettings): void {
  const { http, tcp } = pool
  if (!http && !tcp) scope.errorAtKey('http or tcp is needed')
  if (http) {
    const at = scope.at('http')
    for (const field of [
      'http1MaxPendingRequests',
      'http2MaxRequests',
      'maxRequestsPerConnection',
      'maxRetries',
      'maxConcurrentStreams',
    ] as const) {
      checkNotNegative(at.at(field), http[field])
    }
    checkDuration(at.at('idleTimeout'), http.idleTimeout)
    if (http.h2UpgradePolicy === 'UPGRADE' && http.useClientProtocol)
      at.at('useClientProtocol').errorAtKey('excludes "h2UpgradePolicy: UPGRADE"')
    if (http.http2KeepAlive) {
      for (const field of ['interval', 'timeout'] as const) {
        if (http.http2KeepAlive[field] === undefined) at.at('http2KeepAlive').errorAtKey(`${field} is needed`)
        checkDuration(at.at('http2KeepAlive', field), http.http2KeepAlive[field])
      }
    }
  }
  if (tcp) {
    const at = scope.at('tcp')
    checkNotNegative(at.at('maxConnections'), tcp.maxConnections)
    checkDuration(at.at('connectTimeout'), tcp.connectTimeout)
    checkDuration(at.at('maxConnectionDuration'), tcp.maxConnectionDuration)
    checkDuration(at.at('idleTimeout'), tcp.idleTimeout, { zero: true })
    checkDuration(at.at('tcpKeepalive', 'time'), tcp.tcpKeepalive?.time)
    checkDuration(at.at('tcpKeepalive', 'interval'), tcp.tcpKeepalive?.interval)
  }
}

function checkLoadBalancer(
  scope: Scope,
  settings: LoadBalancerSettings,
  outlierDetection: OutlierDetection | undefined,
): void {
  const { consistentHash: hash, localityLbSetting, zoneAwareLbSetting, warmup } = settings
  if (hash) {
    const at = scope.at('consistentHash')
    if (hash.httpCookie) checkCookie(at.at('httpCookie'), hash.httpCookie)
    if (hash.minimumRingSize) {
      at.at('minimumRingSize').warnAtKey('is deprecated: write "ringHash: {minimumRingSize: …}"')
      if (hash.ringHash || hash.maglev) at.at('minimumRingSize').errorAtKey('excludes ringHash and maglev')
    }
    if (hash.maglev) checkMaglev(at.at('maglev'), hash.maglev.tableSize)
  }
  if (localityLbSetting && zoneAwareLbSetting) scope.at('zoneAwareLbSetting').errorAtKey('excludes localityLbSetting')
  if (localityLbSetting) checkLocality(scope.at('localityLbSetting'), localityLbSetting, outlierDetection)
  if (zoneAwareLbSetting) checkZoneAware(scope.at('zoneAwareLbSetting'), zoneAwareLbSetting, outlierDetection)
  checkDuration(scope.at('warmupDurationSecs'), settings.warmupDurationSecs)
  if (warmup) {
    const at = scope.at('warmup')
    checkDuration(at.at('duration'), warmup.duration)
    checkPercent(at.at('minimumPercent'), warmup.minimumPercent)
    if (warmup.aggression !== undefined && warmup.aggression <= 0)
      at.at('aggression').error(`must be more than 0, is ${warmup.aggression}`)
  }
}

type Cookie = NonNullable<NonNullable<LoadBalancerSettings['consistentHash']>['httpCookie']>

function checkCookie(scope: Scope, cookie: Cookie): void {
  if (cookie.name === '') scope.at('name').error('must not be empty')
  const seen = new Set<string>()
  each(scope.at('attributes'), cookie.attributes, (at, { name }) => {
    if (name === '') at.at('name').error('must not be empty')
    else if (seen.has(name)) at.at('name').error(`"${name}" is given twice`)
    seen.add(name)
  })
}

function checkMaglev(scope: Scope, size = 0): void {
  if (size === 0) scope.errorAtKey('tableSize is needed, and more than 0')
  else if (size >= 5_000_011) scope.at('tableSize').error(`must be less than 5000011, is ${size}`)
  else if (!isPrime(size)) scope.at('tableSize').error(`must be a prime number, which ${size} is not`)
}

/** As Envoy tells primes, 1 included. */
function isPrime(n: number): boolean {
  if (n < 4) return n > 0
  if (n % 2 === 0) return false
  for (let factor = 3; factor * factor <= n; factor += 2) if (n % factor === 0) return false
  return true
}

/** TLS towards a service (agent.ValidateTLS). */
export function checkClientTls(scope: Scope, tls: ClientTLSSettings, namespace: string): void {
  const { mode = 'DISABLE', credentialName } = tls
  const secret = (mode === 'SIMPLE' || mode === 'MUTUAL') && Boolean(credentialName)
  if (credentialName?.startsWith('configmap://')) {
    const [of, name, ...rest] = credentialName.slice('configmap://'.length).split('/')
    const good = rest.length === 0 && of === namespace && name !== undefined && isLabel(name)
    if (!good) scope.at('credentialName').error(`must be configmap://${namespace}/<name>`)
  }
  if (tls.insecureSkipVerify) {
    for (const field of ['caCertificates', 'credentialName', 'subjectAltNames'] as const) {
      const excluded = mode === 'SIMPLE' || (mode === 'MUTUAL' && field !== 'credentialName')
      if (excluded && (field === 'subjectAltNames' ? tls[field] !== undefined : tls[field])) {
        scope.at(field).errorAtKey('excludes insecureSkipVerify')
      }
    }
  }
  if (secret) {
    for (const field of ['clientCertificate', 'caCertificates', 'privateKey', 'caCrl'] as const) {
      if (tls[field]) scope.at(field).errorAtKey('excludes credentialName')
    }
  } else if (mode === 'MUTUAL') {
    for (const field of ['clientCertificate', 'privateKey'] as const) {
      if (!tls[field]) scope.errorAtKey(`mode MUTUAL needs ${field} (or credentialName)`)
    }
  }
}
