import type { z } from 'zod'
import { list, message, oneOf, text, uint32 } from '../schema.ts'
import { ServerTLSSettings } from './gateway.ts'
import { WorkloadSelector } from './selector.ts'
import { ConnectionPoolSettings } from './traffic-policy.ts'
import { Destination } from './virtual-service.ts'

/** Port number, protocol and name. */
export const SidecarPort = message({
  number: uint32,
  protocol: text,
  name: text,
  /** Deprecated. */
  targetPort: uint32,
})
export type SidecarPort = z.infer<typeof SidecarPort>

/** An inbound listener; any of these replaces those derived from Services. */
export const IstioIngressListener = message(
  {
    port: SidecarPort,
    bind: text,
    captureMode: oneOf('DEFAULT', 'IPTABLES', 'NONE'),
    /** `127.0.0.1:port`, `0.0.0.0:port` or `unix:///path`. */
    defaultEndpoint: text,
    tls: ServerTLSSettings,
    connectionPool: ConnectionPoolSettings,
  },
  ['port'],
)
export type IstioIngressListener = z.infer<typeof IstioIngressListener>

/** An outbound listener; without a port it takes all ports that no other one takes. */
export const IstioEgressListener = message(
  {
    port: SidecarPort,
    bind: text,
    captureMode: oneOf('DEFAULT', 'IPTABLES', 'NONE'),
    /** `namespace/dnsName`, where namespace is `*`, `.`, `~` or a name. */
    hosts: list(text),
  },
  ['hosts'],
)
export type IstioEgressListener = z.infer<typeof IstioEgressListener>

/** What happens to unknown destinations; ALLOW_ANY when unset. */
export const SidecarOutboundTrafficPolicy = message({
  mode: oneOf('REGISTRY_ONLY', 'ALLOW_ANY'),
  egressProxy: Destination,
})
export type SidecarOutboundTrafficPolicy = z.infer<typeof SidecarOutboundTrafficPolicy>

/** What a sidecar accepts and what it sees (networking/v1alpha3/sidecar.proto). */
export const Sidecar = message({
  workloadSelector: WorkloadSelector,
  ingress: list(IstioIngressListener),
  egress: list(IstioEgressListener),
  inboundConnectionPool: ConnectionPoolSettings,
  outboundTrafficPolicy: SidecarOutboundTrafficPolicy,
})
export type Sidecar = z.infer<typeof Sidecar>
