import tls from 'node:tls'
import type {
  CertificateValidationContext,
  TlsParameters,
} from '#gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { CommonTlsContext } from '#gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { make } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'
import { Problems } from '../http/config.ts'
import { readDataSource } from './data-source.ts'
import { type ShownCertificate, type ShownCertificates, splitPem } from './expiry.ts'
import { compilePeerVerifier, type PeerVerifier } from './san-match.ts'
import { readCertificate, type TlsCertificateMaterial } from './secret-material.ts'
import type { SecretHandle, SecretProvider } from './secrets.ts'

/** TLS versions and ciphers in the words of `tls.createSecureContext`. */
interface Parameters {
  readonly minVersion: tls.SecureVersion
  readonly maxVersion: tls.SecureVersion
  readonly ciphers: string | undefined
  readonly ecdhCurve: string | undefined
}

const INLINE = '<inline>'
const contexts = new WeakMap<SecretProvider, Set<CommonTls>>()

/** The contexts of one proxy that are in use. */
export function contextsOf(secrets: SecretProvider): Set<CommonTls> {
  let all = contexts.get(secrets)
  if (!all) {
    all = new Set()
    contexts.set(secrets, all)
  }
  return all
}

/** What one version of the secrets makes: rebuilt when a secret changes, never per connection. */
export interface BuiltContext {
  /** Made at the first connection: most of a sidecar's clusters never see one, and reading a key takes long. */
  readonly context: tls.SecureContext
  /** Whether the peer's chain must lead to the trusted roots. */
  readonly verifyChain: boolean
  /** Whether a trusted CA is there at all: servers then ask for a client certificate. */
  readonly hasCa: boolean
  readonly verifier: PeerVerifier | undefined
  /** The certificate that this side shows. */
  readonly certificate: TlsCertificateMaterial | undefined
}

const KNOWN = new Set([
  'tlsParams',
  'tlsCertificates',
  'tlsCertificateSdsSecretConfigs',
  'validationContext',
  'validationContextSdsSecretConfig',
  'combinedValidationContext',
  'alpnProtocols',
])
const KNOWN_VALIDATION = new Set([
  'trustedCa',
  'systemRootCerts',
  'verifyCertificateSpki',
  'verifyCertificateHash',
  'matchTypedSubjectAltNames',
  'matchSubjectAltNames',
  'crl',
  'trustChainVerification',
  // Of what came by SDS; Envoy does not look at it elsewhere.
  'watchedDirectory',
])
const ACCEPT_UNTRUSTED = 1
const VERSIONS: readonly tls.SecureVersion[] = ['TLSv1.2', 'TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3']

/**
 * CommonTlsContext of either side: its secrets, static or by SDS, and the secure context that they make
 * (source/common/tls/context_config_impl.cc, context_impl.cc). Use `built`; close when the cluster or listener goes.
 */
export class CommonTls {
  readonly alpn: readonly string[]
  private readonly parameters: Parameters
  private readonly certificates: (SecretHandle<TlsCertificateMaterial> | TlsCertificateMaterial)[] = []
  private readonly validation: SecretHandle<CertificateValidationContext> | undefined
  private readonly base: CertificateValidationContext | undefined
  private readonly path: string
  private readonly secrets: SecretProvider | undefined
  private cached: BuiltContext | undefined
  private readonly listeners: (() => void)[] = []

  /** Throws ConfigError. */
  constructor(config: CommonTlsContext, maxVersion: tls.SecureVersion, secrets: SecretProvider, path: string) {
    const problems = new Problems()
    this.path = path
    problems.refuseUnknown(config, KNOWN, path)
    this.alpn = config.alpnProtocols
    this.parameters = compileParameters(config.tlsParams, maxVersion, `${path}.tls_params`, problems)
    for (const [i, inline] of config.tlsCertificates.entries()) {
      const read = problems.collect('', () => readCertificate(inline, `${path}.tls_certificates[${i}]`))
      if (read) this.certificates.push(read)
    }
    // Where there are both, those that are written out count.
    for (const [i, sds] of config.tlsCertificates.length ? [] : config.tlsCertificateSdsSecretConfigs.entries()) {
      const at = `${path}.tls_certificate_sds_secret_configs[${i}]`
      const handle = problems.collect('', () => secrets.certificate(sds, at))
      if (handle) this.certificates.push(handle)
    }
    const choice = config.validationContextType
    const at = `${path}.${choice.case === 'combinedValidationContext' ? 'combined_validation_context' : 'validation_context'}`
    if (choice.case === 'validationContext') this.base = choice.value
    else if (choice.case === 'validationContextSdsSecretConfig') {
      this.validation = problems.collect('', () => secrets.validation(choice.value, at))
    } else if (choice.case === 'combinedValidationContext') {
      this.base = choice.value.defaultValidationContext
      const by = choice.value.validationContextSdsSecretConfig
      if (by) this.validation = problems.collect('', () => secrets.validation(by, at))
    }
    if (this.base) problems.refuseUnknown(this.base, KNOWN_VALIDATION, at)
    try {
      // No CAs, instead of the system's: only the words of the config are tried.
      tls.createSecureContext({ ...this.parameters, ca: [] })
    } catch (error) {
      problems.add(path, (error as Error).message)
    }
    if (problems.errors.length === 0 && this.ready) problems.collect('', () => this.built)
    if (problems.errors.length > 0) {
      this.close()
      problems.throwIfAny()
    }
    for (const handle of this.handles()) handle.onChange(() => this.changed())
    this.secrets = secrets
    contextsOf(secrets).add(this)
  }

  /** What it trusts and shows, as far as it has arrived: all roots, and the leaf of each chain. */
  get shown(): ShownCertificates {
    const chain = this.certificates.flatMap((known): ShownCertificate[] => {
      const handle = 'onChange' in known ? known : undefined
      const material = 'onChange' in known ? known.current : known
      const [pem] = splitPem(material?.cert ?? '')
      if (pem === undefined) return []
      return [{ secret: handle?.name, pem, path: (handle?.dynamic ? undefined : material?.path) ?? INLINE }]
    })
    const source = (this.validation?.current ?? this.base)?.trustedCa ?? this.base?.trustedCa
    const file = source?.specifier.case === 'filename' && !this.validation?.dynamic ? source.specifier.value : INLINE
    const secret = this.validation?.current?.trustedCa ? this.validation.name : undefined
    const roots = splitPem(readDataSource(source, '', [], true)?.toString('utf8') ?? '')
    return { ca: roots.map((pem) => ({ secret, pem, path: file })), chain }
  }

  /** Whether all secrets have arrived. */
  get ready(): boolean {
    return this.handles().every((h) => h.current !== undefined)
  }

  /** Whether all secrets have arrived, or are known not to. */
  get settled(): boolean {
    return this.handles().every((h) => h.current !== undefined || h.absent)
  }

  /** ms after which to go on without the secrets that are missing; 0 = wait for ever. */
  get fetchTimeout(): number {
    const missing = this.handles().filter((h) => h.current === undefined && !h.absent)
    return missing.some((h) => h.fetchTimeout === 0) ? 0 : Math.max(0, ...missing.map((h) => h.fetchTimeout))
  }

  /** Calls `fn` after each arrival or change of a secret. */
  onChange(fn: () => void): void {
    this.listeners.push(fn)
  }

  /** The context of the secrets as they are; undefined while one is missing. */
  get built(): BuiltContext | undefined {
    if (this.cached === undefined && this.ready) this.cached = this.build()
    return this.cached
  }

  close(): void {
    if (this.secrets) contextsOf(this.secrets).delete(this)
    for (const handle of this.handles()) handle.close()
  }

  private handles(): SecretHandle<unknown>[] {
    const all: SecretHandle<unknown>[] = []
    for (const certificate of this.certificates) if ('onChange' in certificate) all.push(certificate)
    if (this.validation !== undefined) all.push(this.validation)
    return all
  }

  private changed(): void {
    const before = this.cached
    this.cached = undefined
    try {
      void this.built
    } catch (error) {
      // A secret that does not fit this context leaves the last good one in use.
      this.cached = before
      throw error
    }
    for (const fn of this.listeners) fn()
  }

  private build(): BuiltContext {
    const errors: string[] = []
    const validation = merge(this.base, this.validation?.current)
    const certificates = this.certificates.flatMap((known) => ('onChange' in known ? (known.current ?? []) : known))
    const path = `${this.path}.validation_context`
    const ca = readDataSource(validation?.trustedCa, `${path}.trusted_ca`, errors, true)
    const crl = readDataSource(validation?.crl, `${path}.crl`, errors, true)
    const verifier = validation ? compilePeerVerifier(validation, path, errors) : undefined
    const hasCa = ca !== undefined || validation?.systemRootCerts !== undefined
    const sans = (validation?.matchTypedSubjectAltNames.length ?? 0) + (validation?.matchSubjectAltNames.length ?? 0)
    if (sans > 0 && !hasCa)
      errors.push(`${path}: SAN-based verification of peer certificates without trusted CA is insecure and not allowed`)
    if (errors.length > 0) throw new ConfigError(errors)
    const create = () =>
      tls.createSecureContext({
        ...this.parameters,
        ...materials(certificates),
        ca: ca?.toString('utf8'),
        // Of a text, Node reads one list.
        crl: crl === undefined ? undefined : listsOf(crl.toString('utf8')),
        // An intermediate that is trusted is the end of the chain, whoever signed it (X509_V_FLAG_PARTIAL_CHAIN).
        allowPartialTrustChain: true,
        // A server that asks for client certificates must name one, or OpenSSL fails every resumed handshake.
        sessionIdContext: 'dinghy',
      })
    let context: tls.SecureContext | undefined
    try {
      // Of the rest, the constructor has seen to the parameters, and whoever holds the secrets to them.
      if (crl !== undefined || this.base?.trustedCa !== undefined) context = create()
    } catch (error) {
      throw new ConfigError([`${this.path}: ${(error as Error).message}`])
    }
    return {
      get context() {
        context ??= create()
        return context
      },
      verifyChain: hasCa && validation?.trustChainVerification !== ACCEPT_UNTRUSTED,
      hasCa,
      verifier,
      certificate: certificates[0],
    }
  }
}

/** The revocation lists of a text, one by one; a text without any as it is, to be refused. */
function listsOf(text: string): string | string[] {
  return text.match(/-----BEGIN X509 CRL-----[\s\S]*?-----END X509 CRL-----/g) ?? text
}

/** The SDS context laid over the default one: its lists come after, its values win (proto MergeFrom). */
function merge(
  base: CertificateValidationContext | undefined,
  over: CertificateValidationContext | undefined,
): CertificateValidationContext | undefined {
  if (base === undefined || over === undefined) return over ?? base
  return make('envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext', {
    trustedCa: over.trustedCa ?? base.trustedCa,
    systemRootCerts: over.systemRootCerts ?? base.systemRootCerts,
    crl: over.crl ?? base.crl,
    trustChainVerification: over.trustChainVerification || base.trustChainVerification,
    verifyCertificateHash: [...base.verifyCertificateHash, ...over.verifyCertificateHash],
    verifyCertificateSpki: [...base.verifyCertificateSpki, ...over.verifyCertificateSpki],
    matchTypedSubjectAltNames: [...base.matchTypedSubjectAltNames, ...over.matchTypedSubjectAltNames],
    matchSubjectAltNames: [...base.matchSubjectAltNames, ...over.matchSubjectAltNames],
  })
}

function compileParameters(
  config: TlsParameters | undefined,
  maxVersion: tls.SecureVersion,
  path: string,
  problems: Problems,
): Parameters {
  if (config && config.signatureAlgorithms.length > 0) problems.add(`${path}.signature_algorithms`, 'not supported')
  const min = config?.tlsMinimumProtocolVersion ?? 0
  const max = config?.tlsMaximumProtocolVersion ?? 0
  // Envoy writes alternatives of equal rank as [A|B]; OpenSSL knows only a flat list, in the same order.
  const ciphers = config?.cipherSuites.flatMap((c) => c.replace(/[[\]]/g, '').split('|')) ?? []
  const curves = config?.ecdhCurves ?? []
  return {
    minVersion: VERSIONS[min] ?? 'TLSv1.2',
    maxVersion: max === 0 ? maxVersion : (VERSIONS[max] ?? maxVersion),
    // TLS 1.3 suites are not part of Envoy's list, but of OpenSSL's: without them 1.3 could not be spoken.
    ciphers: ciphers.length > 0 ? [...TLS13_CIPHERS, ...ciphers].join(':') : undefined,
    ecdhCurve: curves.length > 0 ? curves.join(':') : undefined,
  }
}

const TLS13_CIPHERS = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']

/** Certificates as Node takes them: of several, OpenSSL picks the one whose key the client can verify. */
function materials(all: readonly TlsCertificateMaterial[]): tls.SecureContextOptions {
  const [only] = all
  if (all.length < 2) return { cert: only?.cert, key: only?.key, pfx: only?.pfx, passphrase: only?.passphrase }
  return {
    cert: all.flatMap(({ cert }) => cert ?? []),
    key: all.flatMap(({ key, passphrase }) => (key === undefined ? [] : { pem: key, passphrase })),
    pfx: all.flatMap(({ pfx, passphrase }) => (pfx === undefined ? [] : { buf: pfx, passphrase })),
  }
}
