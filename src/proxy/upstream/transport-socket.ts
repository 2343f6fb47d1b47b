import type { Cluster as ClusterProto } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { TransportSocket } from '#gen/envoy/config/core/v3/base_pb.js'
import { make, typeNameOf, unpack } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { Problems } from '../http/config.ts'
import type { Address, CertificateInfo, ConnectionInfo, TlsInfo } from '../listener/connection.ts'
import type { ClientTlsOptions } from '../net/transport.ts'
import type { Counter } from '../observe/stats.ts'
import { CommonTls } from '../tls/common-context.ts'
import { chargeExpiry } from '../tls/expiry.ts'
import { verifySanList } from '../tls/san-match.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { Metadata } from './host.ts'
import { compileProxyProtocol, ProxyProtocolSocket } from './proxy-protocol-socket.ts'

/** How the bytes of a connection are carried: plain, or by TLS. */
export interface UpstreamSocket {
  readonly secure: boolean
  /** All secrets are there. */
  readonly ready: boolean
  /** All secrets are there, or known to be missing. */
  readonly settled: boolean
  /** ms after which to go on without the secrets that are missing; 0 = never. */
  readonly fetchTimeout: number
  onChange(fn: () => void): void
  /** TLS for one connection; undefined on plaintext. `alpn` replaces the configured list, `fallback` an empty one. */
  tlsOptions(
    sni: string | undefined,
    alpn: readonly string[] | undefined,
    fallback: readonly string[],
  ): ClientTlsOptions | undefined
  /** Bytes to send before anything else, TLS included, once it is known where the connection begins and ends. */
  preface?(local: Address, remote: Address): Buffer | undefined
  /** The socket for what comes from one downstream connection; undefined: it is the same for all. */
  bind?(downstream: ConnectionInfo): UpstreamSocket
  /** Of one downstream connection: of no use after it. */
  readonly transient?: boolean
  /** Counts a finished handshake, or how one failed. */
  chargeHandshake(info: TlsInfo | undefined): void
  chargeFailure(details: string): void
  close(): void
}

/** Plain bytes. */
export const rawBuffer: UpstreamSocket = {
  secure: false,
  ready: true,
  settled: true,
  fetchTimeout: 0,
  onChange: () => {},
  tlsOptions: () => undefined,
  chargeHandshake: () => {},
  chargeFailure: () => {},
  close: () => {},
}

const RAW_BUFFER = 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'
const PROXY_PROTOCOL = 'envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'
const UPSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
const TLS_KNOWN = new Set(['commonTlsContext', 'sni', 'maxSessionKeys', 'enforceRsaKeyUsage'])

const SSL_COUNTERS = [
  'connection_error',
  'fail_verify_cert_hash',
  'fail_verify_error',
  'fail_verify_no_cert',
  'fail_verify_san',
  'handshake',
  'no_certificate',
  'ocsp_staple_failed',
  'ocsp_staple_omitted',
  'ocsp_staple_requests',
  'ocsp_staple_responses',
  'session_reused',
]

const FACTORY_COUNTERS = [
  'downstream_context_secrets_not_ready',
  'ssl_context_update_by_sds',
  'upstream_context_secrets_not_ready',
]

/** UpstreamTlsContext: TLS towards hosts (source/common/tls/client_ssl_socket.cc). */
export class TlsSocket implements UpstreamSocket {
  readonly secure = true
  private readonly common: CommonTls
  private readonly sni: string
  private readonly resume: boolean
  private readonly autoSan: boolean
  private readonly stats: ClusterStats
  /** The last session; it belongs to the secrets it was made with, and to one name. */
  private session: { readonly name: string; readonly ticket: Buffer } | undefined

  /** Throws ConfigError. */
  constructor(socket: TransportSocket, path: string, autoSan: boolean, secrets: SecretProvider, stats: ClusterStats) {
    const at = `${path}.typed_config`
    const config = socket.configType.case === 'typedConfig' ? unpack(socket.configType.value, UPSTREAM_TLS) : undefined
    if (config === undefined) throw new ConfigError([`${at}: value is required`])
    const problems = new Problems()
    problems.refuseUnknown(config, TLS_KNOWN, at)
    // Certificates are not asked what their keys are for, whatever the default of the day.
    if (config.enforceRsaKeyUsage) problems.add(`${at}.enforce_rsa_key_usage`, 'not supported')
    problems.throwIfAny()
    const common = config.commonTlsContext ?? make('envoy.extensions.transport_sockets.tls.v3.CommonTlsContext')
    if (common.tlsCertificates.length > 1 || common.tlsCertificateSdsSecretConfigs.length > 1)
      throw new ConfigError([
        `${at}.common_tls_context: Multiple TLS certificates are not supported for client contexts`,
      ])
    this.common = new CommonTls(common, 'TLSv1.2', secrets, `${at}.common_tls_context`)
    this.common.onChange(() => {
      stats.counter('client_ssl_socket_factory.ssl_context_update_by_sds').inc()
      this.session = undefined
      if (this.common.ready) chargeExpiry(this.common.shown, (name) => stats.gauge(name))
    })
    if (this.common.ready) chargeExpiry(this.common.shown, (name) => stats.gauge(name))
    this.sni = config.sni
    this.resume = (config.maxSessionKeys ?? 1) > 0
    this.autoSan = autoSan
    this.stats = stats
    for (const name of SSL_COUNTERS) stats.counter(`ssl.${name}`)
    for (const name of FACTORY_COUNTERS) stats.counter(`client_ssl_socket_factory.${name}`)
  }

  get ready(): boolean {
    return this.common.ready
  }

  get settled(): boolean {
    return this.common.settled
  }

  get fetchTimeout(): number {
    return this.common.fetchTimeout
  }

  onChange(fn: () => void): void {
    this.common.onChange(fn)
  }

  tlsOptions(
    sni: string | undefined,
    alpn: readonly string[] | undefined,
    fallback: readonly string[],
  ): ClientTlsOptions | undefined {
    const built = this.common.built
    if (built === undefined) return undefined
    const name = sni ?? this.sni
    const verify = (peer: CertificateInfo | undefined): string | undefined => {
      const refused = built.verifier?.verify(peer, (why) =>
        this.stats.counter(why === 'san' ? 'ssl.fail_verify_san' : 'ssl.fail_verify_cert_hash').inc(),
      )
      if (refused !== undefined || !this.autoSan || sni === undefined) return refused
      const mismatch = verifySanList(peer, [sni])
      if (mismatch !== undefined) this.stats.counter('ssl.fail_verify_san').inc()
      return mismatch
    }
    return {
      context: built.context,
      sni: name,
      alpn: alpn ?? (this.common.alpn.length > 0 ? this.common.alpn : fallback),
      session: this.session?.name === name ? this.session.ticket : undefined,
      onSession: this.resume
        ? (ticket) => {
            if (this.common.built === built) this.session = { name, ticket }
          }
        : undefined,
      verifyChain: built.verifyChain,
      verify,
    }
  }

  chargeHandshake(info: TlsInfo | undefined): void {
    this.stats.counter('ssl.handshake').inc()
    if (info === undefined) return
    this.stats.counter(`ssl.versions.${info.version}`).inc()
    this.stats.counter(`ssl.ciphers.${info.cipher}`).inc()
    if (info.group !== undefined) this.stats.counter(`ssl.curves.${info.group}`).inc()
  }

  chargeFailure(details: string): void {
    if (details.includes('CERTIFICATE_VERIFY_FAILED')) {
      if (!/SAN|cert.hash/.test(details)) this.stats.counter('ssl.fail_verify_error').inc()
    } else if (details.startsWith('TLS_error') && !details.includes('system library'))
      this.stats.counter('ssl.connection_error').inc()
  }

  close(): void {
    this.common.close()
  }
}

/** Compiles one transport socket. Throws ConfigError. */
export function compileSocket(
  socket: TransportSocket | undefined,
  path: string,
  autoSan: boolean,
  secrets: SecretProvider,
  stats: ClusterStats,
): UpstreamSocket {
  if (socket === undefined) return rawBuffer
  const type = socket.configType.case === 'typedConfig' ? typeNameOf(socket.configType.value.typeUrl) : undefined
  if (type === RAW_BUFFER || (type === undefined && socket.name.endsWith('raw_buffer'))) return rawBuffer
  if (type === UPSTREAM_TLS) return new TlsSocket(socket, path, autoSan, secrets, stats)
  if (type === PROXY_PROTOCOL && socket.configType.case === 'typedConfig') {
    const { config, transportSocket } = unpack(socket.configType.value, PROXY_PROTOCOL)!
    const at = `${path}.typed_config.transport_socket`
    if (transportSocket === undefined) throw new ConfigError([`${at}: value is required`])
    const settings = compileProxyProtocol(config, `${path}.typed_config.config`)
    return new ProxyProtocolSocket(settings, compileSocket(transportSocket, at, autoSan, secrets, stats), stats)
  }
  throw new ConfigError([`${path}: transport socket ${type ?? socket.name} is not supported`])
}

interface SocketMatch {
  readonly name: string
  readonly match: readonly (readonly [string, string])[]
  readonly socket: UpstreamSocket
  /** How often it was the one. */
  readonly count: Counter
}

const MATCH_NAMESPACE = 'envoy.transport_socket_match'

/** A cluster's transport sockets: by the endpoint's metadata, else the default (source/common/upstream/transport_socket_match_impl.cc). */
export class TransportSockets {
  private readonly matches: readonly SocketMatch[]
  private readonly fallback: UpstreamSocket
  private readonly fallbackCount: Counter

  /** Throws ConfigError with the problems of all of them. */
  constructor(cluster: ClusterProto, autoSan: boolean, secrets: SecretProvider, stats: ClusterStats) {
    const problems = new Problems()
    const compile = (socket: TransportSocket | undefined, path: string) =>
      problems.collect('', () => compileSocket(socket, path, autoSan, secrets, stats)) ?? rawBuffer
    this.fallbackCount = stats.counter('default.total_match_count')
    this.fallback = compile(cluster.transportSocket, 'transport_socket')
    this.matches = cluster.transportSocketMatches.map((m, i) => ({
      name: m.name,
      count: stats.counter(`${m.name}.total_match_count`),
      match: Object.entries(m.match ?? {}).map(([key, value]) => [key, JSON.stringify(value)] as const),
      socket: compile(m.transportSocket, `transport_socket_matches[${i}].transport_socket`),
    }))
    if (problems.errors.length > 0) {
      this.close()
      problems.throwIfAny()
    }
  }

  /** The socket for an endpoint. */
  resolve(metadata: Metadata): UpstreamSocket {
    return this.match(metadata)?.socket ?? this.fallback
  }

  /** Counts which socket an endpoint has. */
  count(metadata: Metadata): void {
    ;(this.match(metadata)?.count ?? this.fallbackCount).inc()
  }

  private match(metadata: Metadata): SocketMatch | undefined {
    if (this.matches.length === 0) return undefined
    const labels = metadata.get(MATCH_NAMESPACE)
    return this.matches.find((m) =>
      m.match.every(([key, value]) => labels !== undefined && JSON.stringify(labels[key]) === value),
    )
  }

  get ready(): boolean {
    return this.fallback.ready && this.matches.every((m) => m.socket.ready)
  }

  get settled(): boolean {
    return this.fallback.settled && this.matches.every((m) => m.socket.settled)
  }

  /** As of the sockets that still wait. */
  get fetchTimeout(): number {
    const missing = [this.fallback, ...this.matches.map((m) => m.socket)].filter((s) => !s.settled)
    return missing.some((s) => s.fetchTimeout === 0) ? 0 : Math.max(0, ...missing.map((s) => s.fetchTimeout))
  }

  onChange(fn: () => void): void {
    this.fallback.onChange(fn)
    for (const m of this.matches) m.socket.onChange(fn)
  }

  close(): void {
    this.fallback.close()
    for (const m of this.matches) m.socket.close()
  }
}
