import type { ConnectionInfo } from '../listener/connection.ts'
import type { RequestHead } from './headers.ts'
import { H } from './names.ts'

/** forward_client_cert_details. */
export type XfccMode = 'sanitize' | 'forward-only' | 'append-forward' | 'sanitize-set' | 'always-forward-only'

/** Which facts of the client's certificate go into the header, `By` and `Hash` apart. */
export interface XfccDetails {
  readonly cert: boolean
  readonly chain: boolean
  readonly subject: boolean
  readonly uri: boolean
  readonly dns: boolean
}

/** Changes `x-forwarded-client-cert` (HCU mutateXfccRequestHeader). */
export function mutateXfcc(head: RequestHead, connection: ConnectionInfo, mode: XfccMode, details: XfccDetails): void {
  if (mode === 'always-forward-only') return
  const peer = connection.tls?.peer
  if (mode === 'sanitize' || peer === undefined) {
    head.remove(H.xfcc)
    return
  }
  if (mode === 'forward-only') return
  const parts: string[] = []
  for (const san of connection.tls?.local?.uriSans ?? []) parts.push(`By=${san}`)
  parts.push(`Hash=${peer.sha256}`)
  if (details.cert) parts.push(`Cert="${encodePem(peer.pem)}"`)
  if (details.chain) parts.push(`Chain="${encodePem(peer.chainPem)}"`)
  if (details.subject) parts.push(`Subject="${peer.subject}"`)
  if (details.uri) {
    if (peer.uriSans.length === 0) parts.push('URI=')
    for (const san of peer.uriSans) parts.push(`URI=${san}`)
  }
  if (details.dns) for (const san of peer.dnsSans) parts.push(`DNS=${san}`)
  const element = parts.join(';')
  const old = mode === 'append-forward' ? head.get(H.xfcc) : undefined
  head.set(H.xfcc, old === undefined || old === '' ? element : `${old},${element}`)
}

/** Envoy's URL encoding of a PEM: everything that is not unreserved. */
export function encodePem(pem: string): string {
  return pem.replace(/[^A-Za-z0-9\-_.~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}
