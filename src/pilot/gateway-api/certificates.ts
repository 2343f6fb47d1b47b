import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { ApiObject } from '../../api/objects.ts'

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/
const PRIVATE_KEY = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----[\s\S]+?-----END (?:[A-Z]+ )?PRIVATE KEY-----/
const PEM = /-----BEGIN [A-Z ]+-----/

type Data = Readonly<Record<string, string>>

/** The values of a secret, as text. */
export function secretData(secret: ApiObject<'Secret'>): Data {
  const decoded = Object.entries(secret.data ?? {}).map(([key, value]) => [
    key,
    Buffer.from(value, 'base64').toString('latin1'),
  ])
  return { ...Object.fromEntries(decoded), ...secret.stringData }
}

/** Why a secret is no server certificate with its key; undefined if it is one (credentials/kube ExtractCertInfo, tls.X509KeyPair). */
export function keyPairProblem(data: Data): string | undefined {
  const at = (['cert', 'key'] as const).every((key) => data[key]) ? (['cert', 'key'] as const) : undefined
  const names = at ?? (data['tls.crt'] && data['tls.key'] ? (['tls.crt', 'tls.key'] as const) : undefined)
  if (!names) return missingKeys(data)
  const problem = pairProblem(data[names[0]] as string, data[names[1]] as string)
  return problem && `the certificate is malformed: ${problem}`
}

function missingKeys(data: Data): string {
  for (const [cert, key] of [
    ['cert', 'key'],
    ['tls.crt', 'tls.key'],
  ] as const) {
    if (cert in data && key in data) return `found keys "${cert}" and "${key}", but they were empty`
  }
  return `found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: ${keysOf(data)}`
}

function keysOf(data: Data): string {
  const keys = Object.keys(data).sort()
  return keys.length < 3 ? keys.join(', ') : `${keys.slice(0, 3).join(', ')}, and ${keys.length - 3} more...`
}

function pairProblem(cert: string, key: string): string | undefined {
  const certificate = CERTIFICATE.exec(cert)?.[0]
  if (!certificate) {
    if (!PEM.test(cert)) return 'tls: failed to find any PEM data in certificate input'
    return PRIVATE_KEY.test(cert)
      ? 'tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched'
      : 'tls: failed to find "CERTIFICATE" PEM block in certificate input'
  }
  const block = PRIVATE_KEY.exec(key)?.[0]
  if (!block) {
    if (!PEM.test(key)) return 'tls: failed to find any PEM data in key input'
    return CERTIFICATE.test(key)
      ? 'tls: found a certificate rather than a key in the PEM for the private key'
      : 'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input'
  }
  let parsed: X509Certificate
  try {
    parsed = new X509Certificate(certificate)
  } catch {
    return 'x509: malformed certificate'
  }
  let privateKey: KeyObject
  try {
    privateKey = createPrivateKey(block)
  } catch {
    return 'tls: failed to parse private key'
  }
  return parsed.checkPrivateKey(privateKey) ? undefined : 'tls: private key does not match public key'
}

/** Why a ConfigMap or secret holds no CA certificate; undefined if it does (credentials/kube ExtractRoot). */
export function rootKeyProblem(data: Data): string | undefined {
  if (data.cacert || data['ca.crt']) return undefined
  for (const key of ['cacert', 'ca.crt']) if (key in data) return `found key "${key}", but it was empty`
  return `found secret, but didn't have expected keys cacert or ca.crt; found: ${keysOf(data)}`
}

/** The same, and why what is there is no certificate. */
export function rootProblem(data: Data): string | undefined {
  const missing = rootKeyProblem(data)
  if (missing) return missing
  return isBundle((data.cacert || data['ca.crt']) as string) ? undefined : 'the bundle is malformed'
}

function isBundle(text: string): boolean {
  const blocks = text.match(new RegExp(CERTIFICATE.source, 'g')) ?? []
  return blocks.some((block) => {
    try {
      new X509Certificate(block)
      return true
    } catch {
      return false
    }
  })
}
