import { X509Certificate } from 'node:crypto'
import { spiffeId } from '../../ca/ca.ts'
import type { Runtime } from '../../runtime.ts'
import type { Authenticate, GrpcPeer } from '../../xds/grpc-peer.ts'
import type { ServiceAccounts } from './service-accounts.ts'

/** What callers are known by. */
export interface AuthenticatorOptions {
  readonly accounts: ServiceAccounts
  readonly runtime: Pick<Runtime, 'wallNow'>
  readonly trustDomain: () => string
  /** Those that a token has to be for one of (TOKEN_AUDIENCES). */
  readonly audiences: readonly string[]
  readonly log?: ((line: string) => void) | undefined
}

const BEARER = 'Bearer '
const SPIFFE = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/

/**
 * Tells who calls: by the client's certificate, else by the token of a service account. Both have to be of this mesh and
 * good at the moment of the call, and their account has to exist. What fails is logged; the caller hears only that it did.
 * After security/pkg/server/ca/authenticate (cert_authenticator.go, kubeauth/kube_jwt.go), pkg/security/authentication.go.
 */
export function authenticator(options: AuthenticatorOptions): Authenticate {
  return (peer) => {
    const failures: string[] = []
    for (const [name, way] of WAYS) {
      try {
        return [way(peer, options)]
      } catch (error) {
        failures.push(`Authenticator ${name}: ${(error as Error).message}`)
      }
    }
    options.log?.(`Failed to authenticate client from ${peer.address}: ${failures.join('; ')}`)
    return undefined
  }
}

type Way = (peer: GrpcPeer, options: AuthenticatorOptions) => string

const WAYS: readonly (readonly [name: string, way: Way])[] = [
  ['ClientCertAuthenticator', byCertificate],
  ['KubeJWTAuthenticator', byToken],
]

function byCertificate(peer: GrpcPeer, { runtime, trustDomain, accounts }: AuthenticatorOptions): string {
  if (!peer.certificate) throw new Error('no client certificate is presented')
  const certificate = new X509Certificate(peer.certificate)
  // The connection may be older than that.
  const now = runtime.wallNow()
  if (now >= Date.parse(certificate.validTo) || now < Date.parse(certificate.validFrom))
    throw new Error('the certificate is not valid now')
  const uris = spiffeUris(certificate)
  const [, domain, namespace = '', name = ''] = SPIFFE.exec(uris.length === 1 ? uris[0]! : '') ?? []
  if (domain !== trustDomain()) throw new Error(`no identity of trust domain ${trustDomain()} is in the certificate`)
  if (!accounts.exists({ namespace, name })) throw new Error('the service account does not exist')
  return uris[0]!
}

/** URI names of a certificate; Node gives quotes to those that could be read in two ways, and none of ours is so. */
function spiffeUris(certificate: X509Certificate): string[] {
  const names = certificate.subjectAltName?.split(', ') ?? []
  return names.flatMap((name) => (name.startsWith('URI:') ? name.slice('URI:'.length) : []))
}

function byToken(peer: GrpcPeer, { accounts, audiences, trustDomain }: AuthenticatorOptions): string {
  if (peer.authorization.length === 0) throw new Error('no HTTP authorization header exists')
  const bearer = peer.authorization.find((value) => value.startsWith(BEARER))
  if (!bearer) throw new Error('no bearer token exists in HTTP authorization header')
  const { namespace, name } = accounts.review(bearer.slice(BEARER.length), audiences)
  return spiffeId(trustDomain(), namespace, name)
}
