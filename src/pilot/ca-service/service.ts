import type { handleUnaryCall } from '@grpc/grpc-js'
import type { IstioCertificateRequest, IstioCertificateResponse } from '#gen/istio/ca_pb.js'
import { type Ca, CaError } from '../../ca/ca.ts'
import { type Authenticate, grpcPeer } from '../../xds/grpc-peer.ts'
import type { GrpcHandlers } from '../../xds/grpc-server.ts'
import { make } from '../../xds/messages.ts'
import { GRPC_INVALID_ARGUMENT, GRPC_UNAUTHENTICATED } from '../../xds/stream.ts'
import { CsrError, publicKeyOf } from './csr.ts'

/** The service that signs certificates for outside proxies. */
export const CA_SERVICE = 'istio.v1.auth.IstioCertificateService'

/** What the service is made of. */
export interface CaServiceOptions {
  readonly ca: Pick<Ca, 'sign'>
  readonly authenticate: Authenticate
  readonly log?: ((line: string) => void) | undefined
}

const GRPC_INTERNAL = 13

/**
 * IstioCertificateService, for `listenGrpcTls`: signs the key of a request for the identity that the caller has proved to be
 * its own; what names the request itself asks for does not matter. Status codes and words are those of
 * security/pkg/server/ca/server.go. Nobody may ask on behalf of another: there are no CA_TRUSTED_NODE_ACCOUNTS here.
 */
export function caHandlers({ ca, authenticate, log }: CaServiceOptions): GrpcHandlers {
  const createCertificate: handleUnaryCall<IstioCertificateRequest, IstioCertificateResponse> = (call, callback) => {
    const refuse = (code: number, details: string) => callback({ code, details })
    const peer = grpcPeer(call)
    const identities = authenticate(peer)
    if (!identities) {
      refuse(GRPC_UNAUTHENTICATED, 'request authenticate failure')
      return
    }
    const { csr, validityDuration, metadata } = call.request
    if (metadata?.ImpersonatedIdentity) {
      log?.(`CA: ${peer.address}, ${identities.join(', ')}, asks on behalf of another, which nobody may`)
      refuse(GRPC_UNAUTHENTICATED, 'request impersonation authentication failure')
      return
    }
    publicKeyOf(csr)
      .then((publicKey) => ca.sign({ publicKey, spiffeIds: identities, ttlMs: Number(validityDuration) * 1000 }))
      .then(
        ({ certChain }) => {
          log?.(`CA: signed for ${identities.join(', ')} at ${peer.address}`)
          callback(null, make('istio.v1.auth.IstioCertificateResponse', { certChain }))
        },
        (error: Error) => {
          log?.(`CA: not signed for ${identities.join(', ')} at ${peer.address}: ${error.message}`)
          refuse(codeOf(error), `CSR signing error (${error.message})`)
        },
      )
  }
  return { name: CA_SERVICE, handlers: { createCertificate } }
}

function codeOf(error: Error): number {
  if (error instanceof CsrError) return GRPC_INVALID_ARGUMENT
  const asked = error instanceof CaError && (error.reason === 'CSR_ERROR' || error.reason === 'TTL_ERROR')
  return asked ? GRPC_INVALID_ARGUMENT : GRPC_INTERNAL
}
