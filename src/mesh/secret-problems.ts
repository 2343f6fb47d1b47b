import { X509Certificate } from 'node:crypto'
import type { ApiObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { keyPairProblem, secretData } from '../pilot/gateway-api/certificates.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'

const KUBERNETES = 'kubernetes://'
const judged = new WeakMap<ApiObject<'Secret'>, string | undefined>()

/**
 * What is wrong with the Secrets that servers of Gateways name: sidecars refuse those, and go on with what they had
 * before; and what is over at `now`, wall clock in ms, which they serve all the same. Each pair is looked at once.
 */
export function secretProblems({ gateways, registry, snapshot }: PushContext, now: number): Problem[] {
  const namespaces = new Set(registry.workloads.flatMap(({ gateway, namespace }) => (gateway ? [namespace] : [])))
  /** Whether clients are checked against its roots. */
  const named = new Map<ApiObject<'Secret'>, boolean>()
  for (const { spec } of gateways.objects) {
    for (const { tls } of spec.servers ?? []) {
      for (const credential of [tls?.credentialName ?? '', ...(tls?.credentialNames ?? [])]) {
        const name = credential.startsWith(KUBERNETES) ? credential.slice(KUBERNETES.length) : credential
        if (name === '' || name.includes('/')) continue
        for (const namespace of namespaces) {
          const secret = snapshot.get('Secret', namespace, name)
          if (secret) named.set(secret, named.get(secret) || (tls?.mode ?? '').endsWith('MUTUAL'))
        }
      }
    }
  }
  return [...named].flatMap(([secret, mutual]) => {
    const message = problemOf(secret, mutual, now)
    if (message === undefined) return []
    return [
      { severity: 'warning' as const, message, ...secret.origin.locate([secret.stringData ? 'stringData' : 'data']) },
    ]
  })
}

function problemOf(secret: ApiObject<'Secret'>, mutual: boolean, now: number): string | undefined {
  const data = secretData(secret)
  if (!judged.has(secret)) judged.set(secret, keyPairProblem(data))
  const problem = judged.get(secret)
  if (problem !== undefined) return `${problem}; gateways go on with what they had before`
  const crl = data['ca.crl'] ?? data.crl
  if (mutual && crl && !CRL.test(crl))
    return 'the revocation list holds no X509 CRL in PEM; gateways go on with what they had before, or do not listen'
  const { validFrom, validTo } = new X509Certificate(data.cert && data.key ? data.cert : (data['tls.crt'] as string))
  if (Date.parse(validTo) < now) return `the certificate expired on ${validTo}; it is served, and clients refuse it`
  if (Date.parse(validFrom) > now)
    return `the certificate is not valid before ${validFrom}; it is served, and clients refuse it`
  return undefined
}

const CRL = /-----BEGIN X509 CRL-----[\s\S]+-----END X509 CRL-----/
