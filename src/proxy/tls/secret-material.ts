import { X509Certificate } from 'node:crypto'
import tls from 'node:tls'
import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'
import type {
  CertificateValidationContext,
  TlsCertificate,
} from '#gen/envoy/extensions/transport_sockets/tls/v3/common_pb.js'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import { ConfigError } from '../context.ts'
import { readDataSource } from './data-source.ts'

/** A certificate with its key, ready for `tls.createSecureContext`. */
export interface TlsCertificateMaterial {
  /** The file that the chain was read from. */
  readonly path?: string | undefined
  /** Leaf first, then intermediates; PEM. Undefined with `pfx`. */
  readonly cert: string | undefined
  readonly key: string | undefined
  readonly pfx: Buffer | undefined
  readonly passphrase: string | undefined
}

/** What the files of a secret hold now, to compare. */
export function contentOf(secret: Secret): string {
  const { case: kind, value } = secret.type
  const errors: string[] = []
  const read = (source: DataSource | undefined) => readDataSource(source, '', errors, true)?.toString('base64') ?? ''
  if (kind === 'tlsCertificate')
    return [value.certificateChain, value.privateKey, value.password, value.pkcs12].map(read).join(' ')
  return kind === 'validationContext' ? [value.trustedCa, value.crl].map(read).join(' ') : ''
}

/** Reads and checks a certificate and its key. Throws ConfigError (source/common/tls/context_impl.cc texts). */
export function readCertificate(config: TlsCertificate, path: string): TlsCertificateMaterial {
  const errors: string[] = []
  if (config.privateKeyProvider) errors.push(`${path}.private_key_provider: not supported`)
  if (config.ocspStaple) errors.push(`${path}.ocsp_staple: not supported`)
  const pfx = readDataSource(config.pkcs12, `${path}.pkcs12`, errors, true)
  const cert = readDataSource(config.certificateChain, `${path}.certificate_chain`, errors, true)?.toString('utf8')
  const key = readDataSource(config.privateKey, `${path}.private_key`, errors, true)?.toString('utf8')
  const passphrase = readDataSource(config.password, `${path}.password`, errors, true)?.toString('utf8')
  if (pfx === undefined && errors.length === 0) {
    if (cert === undefined) errors.push(`${path}: No certificate chain specified`)
    if (key === undefined) errors.push(`${path}: No private key specified`)
  }
  if (errors.length > 0) throw new ConfigError(errors)
  const file = config.certificateChain?.specifier
  const material = { cert, key, pfx, passphrase, path: file?.case === 'filename' ? file.value : undefined }
  try {
    tls.createSecureContext({ cert, key, pfx, passphrase })
  } catch (error) {
    throw new ConfigError([`${path}: Failed to load certificate or private key: ${(error as Error).message}`])
  }
  return material
}

/** Throws ConfigError when the roots cannot be read, or are none. */
export function checkTrustedCa(config: CertificateValidationContext, path: string): void {
  const errors: string[] = []
  const ca = readDataSource(config.trustedCa, `${path}.trusted_ca`, errors, true)
  if (ca !== undefined && !holdsCertificates(ca.toString('utf8')))
    errors.push(`${path}.trusted_ca: Failed to load trusted CA certificates`)
  if (errors.length > 0) throw new ConfigError(errors)
}

const BLOCK = /-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----[^-]*-----END \1-----/g

/** Whether there are certificates in a PEM text, each of which can be read: Node takes roots that are none without a word. */
function holdsCertificates(pem: string): boolean {
  const blocks = pem.match(BLOCK)
  try {
    for (const block of blocks ?? []) new X509Certificate(block)
  } catch {
    return false
  }
  return blocks !== null
}
