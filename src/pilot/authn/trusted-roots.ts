import fs from 'node:fs'
import path from 'node:path'
import tls from 'node:tls'

/** Where systems keep the roots that they trust, the first one that is there counts (Go's crypto/x509, by which istiod finds them). */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
]

/** Where istiod looks for more (jwks_resolver.go jwksExtraRootCABundlePath). */
const EXTRA = '/cacerts/extra.pem'

/**
 * The roots by which key servers are known: Node's own, the system's (or those of SSL_CERT_FILE and SSL_CERT_DIR in its
 * place), NODE_EXTRA_CA_CERTS and istiod's extra bundle. `variable`: the environment.
 */
export function trustedRoots(variable: (name: string) => string): string[] {
  const file = variable('SSL_CERT_FILE')
  const folders = variable('SSL_CERT_DIR').split(':').filter(Boolean)
  const system = file ? [file] : [BUNDLES.find((name) => fs.existsSync(name)) ?? '']
  const files = [...system, ...folders.flatMap(filesIn), variable('NODE_EXTRA_CA_CERTS'), EXTRA]
  return [...tls.rootCertificates, ...files.flatMap(certificatesIn)]
}

function filesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder).map((name) => path.join(folder, name))
  } catch {
    return []
  }
}

/** What of a file are certificates; nothing of one that cannot be read. */
function certificatesIn(file: string): string[] {
  if (file === '') return []
  try {
    return fs.readFileSync(file, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  } catch {
    return []
  }
}
