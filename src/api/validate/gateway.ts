import type { Gateway, Port, Server, ServerTLSSettings } from '../kinds/gateway.ts'
import { isDnsLabel } from '../metadata.ts'
import {
  checkAddress,
  checkPort,
  checkUnixPath,
  isAddress,
  isHttp,
  isLabel,
  isTls,
  protocolOf,
  wildcardFault,
} from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { checkCiphers } from './values.ts'

/** Gateway (ValidateGateway). */
export function checkGateway(scope: Scope, spec: Gateway, name: string, metadata: Scope): void {
  if (!isDnsLabel(name))
    metadata.at('name').error(`"${name}" has a dot, or more than 63 characters, which the name of a Gateway has not`)
  if (!spec.servers?.length) scope.error('servers: one at least is needed')
  const names = new Set<string>()
  each(scope.at('servers'), spec.servers, (at, server) => {
    checkServer(at, server)
    if (names.has(server.port.name)) at.at('port', 'name').error(`a port "${server.port.name}" is there already`)
    names.add(server.port.name)
    if (server.tls?.httpsRedirect && !isHttp(protocolOf(server.port.protocol))) {
      at.at('tls', 'httpsRedirect').warnAtKey('goes with the protocol HTTP alone')
    }
  })
}

function checkServer(scope: Scope, server: Server): void {
  if (server.hosts.length === 0) scope.at('hosts').errorAtKey('one host at least is needed')
  each(scope.at('hosts'), server.hosts, (at, host) => {
    checkNamespacedHost(at, host, true)
  })
  checkServerPort(scope, server.port, server.bind)
  if (server.tls) checkServerTls(scope.at('tls'), server.tls)
  const protocol = protocolOf(server.port.protocol)
  if (protocol === undefined) return
  if (isTls(protocol)) {
    if (!server.tls) scope.error(`tls is needed for the protocol ${server.port.protocol}`)
  } else if (server.tls) {
    const { mode = 'PASSTHROUGH', caCertificates, privateKey, serverCertificate } = server.tls
    if (!isHttp(protocol)) scope.at('tls').errorAtKey('goes with the protocols HTTPS and TLS alone')
    else if (!['PASSTHROUGH', 'AUTO_PASSTHROUGH'].includes(mode) || caCertificates || privateKey || serverCertificate) {
      scope.at('tls').errorAtKey('a port with the protocol HTTP has nothing here but httpsRedirect')
    }
  }
}

function checkServerPort(scope: Scope, port: Port, bind = ''): void {
  const at = scope.at('port')
  if (protocolOf(port.protocol) === undefined) {
    at.at('protocol').error(
      `"${port.protocol}" is no protocol: one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP, TLS`,
    )
  }
  const unix = bind.startsWith('unix://')
  if (port.number > 0 || !unix) checkPort(at.at('number'), port.number)
  if (port.targetPort) at.at('targetPort').errorAtKey('has no effect on a Gateway')
  if (port.name === '') at.at('name').error('must not be empty')
  if (unix) {
    checkUnixPath(scope.at('bind'), bind.slice('unix://'.length))
    if (port.number !== 0) at.at('number').error('must be 0 with a unix socket')
  } else if (bind !== '') checkAddress(scope.at('bind'), bind)
}

/** `[namespace/]host`, of a Gateway or (with the namespace) of a Sidecar (agent.ValidateNamespaceSlashWildcardHostname). */
export function checkNamespacedHost(scope: Scope, text: string, gateway: boolean): void {
  const slash = text.indexOf('/')
  if (slash < 0) {
    if (gateway) checkHostPart(scope, text, true)
    else scope.error(`"${text}": must be namespace/host, such as "*/${text}"`)
    return
  }
  const [namespace, host] = [text.slice(0, slash), text.slice(slash + 1)]
  const place = gateway ? namespace : namespace.replace(/^~/, '')
  const good = place === '*' || place === '.' || isLabel(place) || (!gateway && namespace === '~')
  if (!good) scope.error(`"${text}": "${namespace}" is no namespace`)
  checkHostPart(scope, host, gateway)
}

function checkHostPart(scope: Scope, host: string, gateway: boolean): void {
  if (gateway && isAddress(host)) return
  const fault = wildcardFault(host)
  if (fault !== undefined) scope.error(fault)
  else if (host !== '*' && !host.includes('.'))
    scope.error(`"${host}": a short name is not allowed here, write the whole one`)
  else if (host.includes('*') && host !== '*' && !host.startsWith('*.'))
    scope.error(`"${host}": a wildcard stands for whole labels ("*.")`)
}

/** TLS of incoming connections (validateTLSOptions). */
export function checkServerTls(scope: Scope, tls: ServerTLSSettings): void {
  const { mode = 'PASSTHROUGH', minProtocolVersion, cipherSuites } = tls
  if ((minProtocolVersion === 'TLSV1_0' || minProtocolVersion === 'TLSV1_1') && !cipherSuites?.length) {
    scope.at('minProtocolVersion').warn('needs cipherSuites that fit: the default ones are for TLS 1.2 and up')
  }
  checkCiphers(scope.at('cipherSuites'), cipherSuites)
  for (const field of ['credentialNames', 'tlsCertificates'] as const) {
    const given = tls[field]
    if (given && (given.length < 1 || given.length > 2)) scope.at(field).errorAtKey('one or two')
  }
  const certificates = [
    'serverCertificate',
    'privateKey',
    'caCertificates',
    'tlsCertificates',
    'credentialName',
    'credentialNames',
  ] as const
  const given = certificates.filter((field) =>
    Array.isArray(tls[field]) ? tls[field].length > 0 : Boolean(tls[field]),
  )
  if (mode === 'ISTIO_MUTUAL') {
    for (const field of given) scope.at(field).errorAtKey('mode ISTIO_MUTUAL has certificates of its own')
    return
  }
  if (mode === 'PASSTHROUGH' || mode === 'AUTO_PASSTHROUGH') {
    for (const field of given) scope.at(field).warnAtKey(`has no effect with mode ${mode}`)
    if (tls.caCrl) scope.at('caCrl').warnAtKey(`has no effect with mode ${mode}`)
  }
  checkCertificates(scope, tls, mode)
}

function checkCertificates(scope: Scope, tls: ServerTLSSettings, mode: string): void {
  const files = Boolean(tls.serverCertificate && tls.privateKey)
  const sources = [
    files,
    Boolean(tls.credentialName),
    Boolean(tls.credentialNames?.length),
    Boolean(tls.tlsCertificates?.length),
  ]
  if (sources.filter(Boolean).length > 1) {
    scope.errorAtKey(
      'only one of credentialName, credentialNames, serverCertificate with privateKey, and tlsCertificates may be set',
    )
  }
  const terminates = ['SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL'].includes(mode)
  if (terminates && (tls.credentialName || tls.credentialNames?.length)) {
    if (tls.caCrl && tls.credentialName)
      scope.at('caCrl').errorAtKey('belongs into the secret that credentialName names')
    return
  }
  if (terminates) {
    if (mode !== 'SIMPLE' && !tls.caCertificates)
      scope.errorAtKey(`mode ${mode} needs caCertificates (or credentialName)`)
    const pairs = tls.tlsCertificates?.length ? tls.tlsCertificates : [tls]
    pairs.forEach((pair, i) => {
      const at = pair === tls ? scope : scope.at('tlsCertificates', i)
      for (const field of ['serverCertificate', 'privateKey'] as const) {
        if (!pair[field]) at.errorAtKey(`mode ${mode} needs ${field}${pair === tls ? ' (or credentialName)' : ''}`)
      }
    })
  }
  if (tls.caCrl && mode === 'SIMPLE') scope.at('caCrl').errorAtKey('has no place with mode SIMPLE')
}
