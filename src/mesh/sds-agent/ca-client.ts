import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import type { IstioCertificateRequest, IstioCertificateResponse } from '#gen/istio/ca_pb.js'
import { Identity } from '../../ca/ca.ts'
import { CA_SERVICE } from '../../pilot/ca-service/service.ts'
import { grpcService } from '../../xds/grpc-service.ts'
import { make } from '../../xds/messages.ts'
import { signingRequest } from './csr.ts'

/** Where certificates come from, and what proves who asks. */
export interface CaEndpoint {
  /** `host:port` of an istiod's TLS port. */
  readonly address: string
  /** The name in its certificate; default istiod's. */
  readonly serverName?: string | undefined
  /** PEM of the roots that vouch for it; read at each request. */
  readonly roots: () => Promise<string> | string
  /** The token of the service account; read at each request, as it is renewed from outside. */
  readonly token: () => Promise<string | undefined> | string | undefined
}

/** A request that was not met: a gRPC status code, and the CA's words. */
export class CaRequestError extends Error {
  readonly code: number
  constructor(error: ServiceError, address: string) {
    super(wordsOf(error.details || error.message, address))
    this.code = error.code
  }
}

/** The library's account of a connection that could not be made, without what surrounds it. */
function wordsOf(details: string, address: string): string {
  const [, cause] = /Last error: (?:Error: )?(.*?)\.? Resolution note: /s.exec(details) ?? []
  if (cause === undefined) return details
  return `${address} cannot be reached: ${cause}${UNTRUSTED.test(cause) ? ': the given roots do not vouch for it' : ''}`
}

const UNTRUSTED = /self-signed certificate|unable to (?:get|verify)/

const SERVER_NAME = 'istiod.istio-system.svc'
/** How long an answer is waited for, ms. */
const DEADLINE_MS = 10_000
/** What istio-agent asks for (SECRET_TTL), seconds. */
const VALIDITY_S = 86_400n
const HALF = 0.5

/**
 * Asks an istiod for a certificate of a key that is made here (security/pkg/nodeagent/caclient/providers/citadel/client.go).
 * The certificate of `before`, while there is one, proves who asks as well as the token does. Rejects with CaRequestError.
 */
export async function requestIdentity(ca: CaEndpoint, before: Identity | undefined, now: number): Promise<Identity> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const roots = `${await ca.roots()}\n${before?.rootPem ?? ''}`
  const pems = before && [before.privateKeyPem, before.certChainPem].map((text) => Buffer.from(text))
  const channel = credentials.createSsl(Buffer.from(roots), pems?.[0] ?? null, pems?.[1] ?? null)
  const client = new Client(ca.address, channel, { 'grpc.ssl_target_name_override': ca.serverName ?? SERVER_NAME })
  const metadata = new Metadata()
  const token = await ca.token()
  if (token) metadata.set('authorization', `Bearer ${token}`)
  try {
    const { certChain } = await call(ca.address, client, metadata, signingRequest(privateKey))
    const leaf = new X509Certificate(certChain[0] ?? '')
    const notAfter = Date.parse(leaf.validTo)
    return new Identity({
      spiffeId: leaf.subjectAltName?.replace(/^URI:/, '') ?? '',
      certChainPem: certChain.join(''),
      privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      rootPem: certChain.at(-1) ?? '',
      notAfter,
      renewAt: notAfter - (notAfter - now) * HALF,
    })
  } finally {
    client.close()
  }
}

function call(address: string, client: Client, metadata: Metadata, csr: string): Promise<IstioCertificateResponse> {
  const method = grpcService(CA_SERVICE).createCertificate!
  const request = make('istio.v1.auth.IstioCertificateRequest', { csr, validityDuration: VALIDITY_S })
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest<IstioCertificateRequest, IstioCertificateResponse>(
      method.path,
      method.requestSerialize as (value: IstioCertificateRequest) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => IstioCertificateResponse,
      request,
      metadata,
      { deadline: Date.now() + DEADLINE_MS },
      (error, response) => {
        if (error || !response) reject(new CaRequestError(error!, address))
        else resolve(response)
      },
    )
  })
}
