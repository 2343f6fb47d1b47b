import type { Origin, Workload } from '../../registry/model.ts'
import type { MtlsMode } from '../scope/peer-authentication.ts'

/** Which connections come to sidecars: what annotations leave out of the redirection goes past them. */
export interface Capture {
  /** Whether connections to this port of a workload come to its sidecar. */
  inbound(workload: Workload, port: number): boolean
  /** Whether what programs of a workload send to there comes to its sidecar. */
  outbound(workload: Workload, to: { readonly ip: string; readonly port: number }): boolean
}

/** How connections of a link go: Istio's mutual TLS, TLS of a DestinationRule's own (SIMPLE, MUTUAL), or neither. */
export type LinkTransport = 'mTLS' | 'TLS' | 'plaintext'

/** How the server takes connections: by a PeerAuthentication, or not by a sidecar at all. */
export type ServerMode = MtlsMode | 'no sidecar' | 'outside'

/** A workload at one end of a link: all instances of one owner. */
export interface LinkEnd {
  readonly namespace: string
  readonly workload: string
}

/** Why something is so: words, and the object that says it. */
export interface LinkReason {
  readonly text: string
  readonly origin?: Origin | undefined
}

/** Clients that reach one workload by one port of a service, all in the same way. */
export interface Link {
  readonly clients: readonly LinkEnd[]
  /** Whether the clients have a proxy of their own. */
  readonly sidecar: boolean
  readonly hostname: string
  readonly service: { readonly namespace: string; readonly name: string }
  readonly port: number
  /** '' for the whole service. */
  readonly subset: string
  /** Undefined for an address outside the mesh. */
  readonly server: LinkEnd | undefined
  /** Where the workload listens. */
  readonly serverPort: number
  readonly transport: LinkTransport
  /** What decides that. */
  readonly by: LinkReason
  readonly mode: ServerMode
  /** The PeerAuthentication that decides the mode; undefined: the default, or no sidecar. */
  readonly modeBy: Origin | undefined
  /** Why connections fail; undefined when they do not. */
  readonly fails: string | undefined
}

/** `DestinationRule default/reviews rules.yaml:12`. */
export function reasonText({ text, origin }: LinkReason): string {
  return origin ? `${text ? `${text} ` : ''}${originText(origin)}` : text
}

/** `PeerAuthentication default/strict policies.yaml:3`. */
export function originText({ kind, namespace, name, file, line }: Origin): string {
  const place = file === undefined ? '' : ` ${file}${line ? `:${line}` : ''}`
  return `${kind} ${namespace ? `${namespace}/` : ''}${name}${place}`
}
