import type { z } from 'zod'
import { map, message, oneOf } from '../../schema.ts'
import { LabelSelector } from '../label-selector.ts'
import {
  GATEWAY_API_GROUP,
  Group,
  Hostname,
  KindName,
  LocalObjectReference,
  ObjectName,
  ObjectReference,
  PortNumber,
  patterned,
  SecretObjectReference,
  SectionName,
  sized,
  sizedList,
} from './common.ts'

const ProtocolType = patterned(
  /^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$/,
  'a protocol: HTTP, HTTPS, TLS or TCP',
  255,
)

const ListenerTLSConfig = message({
  mode: oneOf('Terminate', 'Passthrough').default('Terminate'),
  certificateRefs: sizedList(SecretObjectReference, 64),
  /** `gateway.istio.io/tls-terminate-mode`: MUTUAL, OPTIONAL_MUTUAL, ISTIO_SIMPLE, ISTIO_MUTUAL; `…/tls-cipher-suites`. */
  options: map(sized(4096)),
})
/** TLS of one listener. */
export type ListenerTLSConfig = z.infer<typeof ListenerTLSConfig>

const AllowedRoutes = message({
  namespaces: message({
    from: oneOf('All', 'Selector', 'Same').default('Same'),
    selector: LabelSelector,
  }).prefault({}),
  kinds: sizedList(message({ group: Group.default(GATEWAY_API_GROUP), kind: KindName }, ['kind']), 8),
})
/** Which routes may attach to a listener. */
export type AllowedRoutes = z.infer<typeof AllowedRoutes>

const listener = {
  name: SectionName,
  /** All host names when unset. */
  hostname: Hostname,
  port: PortNumber,
  /** HTTP, HTTPS, TLS or TCP. */
  protocol: ProtocolType,
  tls: ListenerTLSConfig,
  allowedRoutes: AllowedRoutes.prefault({}),
}
/** A port of a Gateway, with its host name and TLS. */
export const Listener = message(listener, ['name', 'port', 'protocol'])
export type Listener = z.infer<typeof Listener>

const FrontendTLSConfig = message({
  /** Which client certificates are taken. */
  validation: message(
    {
      caCertificateRefs: sizedList(ObjectReference, 16, 1),
      mode: oneOf('AllowValidOnly', 'AllowInsecureFallback').default('AllowValidOnly'),
    },
    ['caCertificateRefs'],
  ),
})
/** TLS towards clients. */
export type FrontendTLSConfig = z.infer<typeof FrontendTLSConfig>

const GatewayTLS = message({
  backend: message({ clientCertificateRef: SecretObjectReference }),
  frontend: message(
    {
      default: FrontendTLSConfig,
      perPort: sizedList(message({ port: PortNumber, tls: FrontendTLSConfig }, ['port', 'tls']), 64),
    },
    ['default'],
  ),
})
/** TLS of a Gateway as a whole. */
export type GatewayTLS = z.infer<typeof GatewayTLS>

const GatewaySpecAddress = message({
  type: patterned(
    /^Hostname|IPAddress|NamedAddress|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$/,
    'Hostname or IPAddress',
  ).default('IPAddress'),
  value: sized(253),
})
/** An address that is asked for. */
export type GatewaySpecAddress = z.infer<typeof GatewaySpecAddress>

/** Ports that a gateway listens on, and for whom (gateway_types.go). */
export const KubernetesGateway = message(
  {
    gatewayClassName: ObjectName,
    listeners: sizedList(Listener, 64, 1),
    /** A host name: the service of gateway pods that exist already; else a deployment is made. */
    addresses: sizedList(GatewaySpecAddress, 16),
    infrastructure: message({
      labels: map(sized(63)),
      annotations: map(sized(4096)),
      parametersRef: LocalObjectReference,
    }),
    allowedListeners: message({
      namespaces: message({
        from: oneOf('All', 'Selector', 'Same', 'None').default('None'),
        selector: LabelSelector,
      }).prefault({}),
    }),
    tls: GatewayTLS,
    defaultScope: oneOf('All', 'None'),
  },
  ['gatewayClassName', 'listeners'],
)
export type KubernetesGateway = z.infer<typeof KubernetesGateway>

/** Listeners that are added to a Gateway from elsewhere (listenerset_types.go). */
export const ListenerSet = message(
  {
    parentRef: message(
      {
        group: Group.default(GATEWAY_API_GROUP),
        kind: KindName.default('Gateway'),
        name: ObjectName,
        namespace: patterned(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'a namespace', 63),
      },
      ['name'],
    ),
    listeners: sizedList(Listener, 64, 1),
  },
  ['parentRef', 'listeners'],
)
export type ListenerSet = z.infer<typeof ListenerSet>
