import type { Metadata } from '@grpc/grpc-js'

/** Who calls, as far as the transport knows. */
export interface GrpcPeer {
  readonly address: string
  /** DER of the client's certificate, whose chain leads to a trusted root; undefined over plaintext, and without one. */
  readonly certificate: Buffer | undefined
  /** Values of the call's `authorization` metadata. */
  readonly authorization: readonly string[]
}

/** The identities of a caller (SPIFFE ids); undefined when it has shown nothing that proves one. */
export type Authenticate = (peer: GrpcPeer) => readonly string[] | undefined

/** What of a call tells who makes it. */
interface Call {
  getPeer(): string
  getAuthContext(): { readonly sslPeerCertificate?: { readonly raw: Buffer } }
  readonly metadata: Metadata
}

/** The peer of a call. */
export function grpcPeer(call: Call): GrpcPeer {
  return {
    address: call.getPeer(),
    certificate: call.getAuthContext().sslPeerCertificate?.raw,
    authorization: call.metadata.get('authorization').map(String),
  }
}
