import type { Message } from '@bufbuild/protobuf'
import type { DownstreamTlsContext } from '#gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { Runtime, Timer } from '../../runtime.ts'
import type { ProxyContext } from '../context.ts'
import type { ServerTlsOptions } from '../net/transport.ts'
import type { Counter, Gauge, StatsStore } from '../observe/stats.ts'
import { type BuiltContext, CommonTls } from '../tls/common-context.ts'
import { chargeExpiry } from '../tls/expiry.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import type { CertificateInfo, TlsInfo } from './connection.ts'

const UNUSED = [
  'ocsp_staple_failed',
  'ocsp_staple_omitted',
  'ocsp_staple_requests',
  'ocsp_staple_responses',
  'session_reused',
]

/** Counters of `listener.<address>.ssl.` (source/common/tls/stats.h). */
export class DownstreamTlsStats {
  private readonly store: StatsStore
  private readonly prefix: string
  private readonly handshake: Counter
  private readonly connectionError: Counter
  private readonly noCertificate: Counter
  private readonly verifyError: Counter
  private readonly verifyNoCert: Counter
  private readonly missing: Counter
  private readonly updates: Counter
  readonly verifySan: Counter
  readonly verifyHash: Counter

  constructor(stats: StatsStore, prefix: string) {
    this.store = stats
    this.prefix = `listener.${prefix}`
    const counter = (name: string) => stats.counter(`${this.prefix}.ssl.${name}`)
    this.handshake = counter('handshake')
    this.connectionError = counter('connection_error')
    this.noCertificate = counter('no_certificate')
    this.verifyError = counter('fail_verify_error')
    this.verifyNoCert = counter('fail_verify_no_cert')
    this.verifySan = counter('fail_verify_san')
    this.verifyHash = counter('fail_verify_cert_hash')
    for (const name of UNUSED) counter(name)
    const factory = `${this.prefix}.server_ssl_socket_factory`
    this.missing = stats.counter(`${factory}.downstream_context_secrets_not_ready`)
    this.updates = stats.counter(`${factory}.ssl_context_update_by_sds`)
    stats.counter(`${factory}.upstream_context_secrets_not_ready`)
  }

  onSecure(info: TlsInfo | undefined): void {
    this.handshake.inc()
    if (!info) return
    if (!info.peer) this.noCertificate.inc()
    this.store.counter(`${this.prefix}.ssl.versions.${info.version}`).inc()
    this.store.counter(`${this.prefix}.ssl.ciphers.${info.cipher}`).inc()
  }

  /** `details` are Envoy's words; a connection that was given up without any counts nothing. */
  onFailed(details: string): void {
    if (details.includes('PEER_DID_NOT_RETURN_A_CERTIFICATE')) this.verifyNoCert.inc()
    else if (details.includes('CERTIFICATE_VERIFY_FAILED')) {
      // SAN and hash mismatches were counted where they were found.
      if (!/SAN|cert.hash/.test(details)) this.verifyError.inc()
    } else if (details.includes('TLS_error')) this.connectionError.inc()
  }

  missingSecret(): void {
    this.missing.inc()
  }

  /** SDS has brought a secret. */
  updated(): void {
    this.updates.inc()
  }

  gauge(name: string): Gauge {
    return this.store.gauge(`${this.prefix}.${name}`)
  }
}

/** What downstream TLS is built with. */
export interface DownstreamTlsDeps {
  readonly context: ProxyContext
  readonly secrets: SecretProvider
  readonly listener: { readonly statPrefix: string }
}

/** Fields of DownstreamTlsContext that have no effect yet. */
const NOT_ENFORCED = [
  ['ocspStaplePolicy', 'ocsp_staple_policy'],
  ['disableStatefulSessionResumption', 'disable_stateful_session_resumption'],
  ['sessionTimeout', 'session_timeout'],
  ['fullScanCertsOnSniMismatch', 'full_scan_certs_on_sni_mismatch'],
] as const

/** TLS of one filter chain (source/common/tls/server_context_impl.cc). The context follows the secrets. */
export class DownstreamTls {
  readonly stats: DownstreamTlsStats
  private readonly common: CommonTls
  private readonly requireCert: boolean
  private readonly runtime: Runtime
  private readonly waiting: (() => void)[] = []
  private timer: Timer | undefined
  /** It was waited for long enough. */
  private late = false
  private made: { readonly from: BuiltContext; readonly options: ServerTlsOptions } | undefined

  /** `message`: a DownstreamTlsContext. Throws ConfigError. */
  constructor(message: Message, deps: DownstreamTlsDeps) {
    const config = message as DownstreamTlsContext
    const { context } = deps
    this.runtime = context.runtime
    for (const [field, name] of NOT_ENFORCED) if (config[field]) context.notEnforced?.(`downstream_tls_context.${name}`)
    if (config.requireSni) throw new Error('downstream_tls_context.require_sni is not supported')
    if (config.sessionTicketKeysType.case !== undefined) {
      context.notEnforced?.(`downstream_tls_context.${snakeCase(config.sessionTicketKeysType.case)}`)
    }
    if (!config.commonTlsContext) throw new Error('No TLS certificates found for server context')
    const common = config.commonTlsContext
    if (common.tlsCertificates.length + common.tlsCertificateSdsSecretConfigs.length === 0) {
      throw new Error('No TLS certificates found for server context')
    }
    this.requireCert = config.requireClientCertificate ?? false
    this.stats = new DownstreamTlsStats(context.stats, deps.listener.statPrefix)
    // BoringSSL's server accepts up to 1.3 unless told otherwise.
    this.common = new CommonTls(common, 'TLSv1.3', deps.secrets, 'common_tls_context')
    this.common.onChange(() => {
      this.stats.updated()
      this.chargeExpiry()
      this.settle()
    })
    this.chargeExpiry()
  }

  private chargeExpiry(): void {
    if (this.common.ready) chargeExpiry(this.common.shown, (name) => this.stats.gauge(name))
  }

  /** Calls `ready` once, when all secrets are there, known to be missing, or waited for long enough. */
  whenWarm(ready: () => void): void {
    this.waiting.push(ready)
    this.settle()
  }

  private settle(): void {
    if (!this.common.settled && !this.late) {
      const limit = this.common.fetchTimeout
      if (limit > 0)
        this.timer ??= this.runtime.after(limit, () => {
          this.late = true
          this.settle()
        })
      return
    }
    this.timer?.cancel()
    for (const ready of this.waiting.splice(0)) ready()
  }

  /** How the next connection is secured; undefined while a secret is missing. */
  options(): ServerTlsOptions | undefined {
    const from = this.common.built
    if (!from) return undefined
    if (this.made?.from !== from) this.made = { from, options: this.make(from) }
    return this.made.options
  }

  private make(from: BuiltContext): ServerTlsOptions {
    const { verifier } = from
    const failed = (why: 'san' | 'hash') => (why === 'san' ? this.stats.verifySan : this.stats.verifyHash).inc()
    return {
      context: from.context,
      alpn: this.common.alpn,
      // Envoy asks for a certificate whenever it could verify one.
      requestCert: this.requireCert || from.hasCa || verifier !== undefined,
      requireCert: this.requireCert,
      verifyChain: from.verifyChain,
      verify: verifier && ((peer: CertificateInfo | undefined) => verifier.verify(peer, failed)),
    }
  }

  close(): void {
    this.timer?.cancel()
    this.common.close()
  }
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)
}
