import { z } from 'zod'
import { bool, int32, intOrString, list, map, oneOf, open, text } from '../schema.ts'

/** A port of a service. */
export const ServicePort = open(
  {
    /** Its first part names the protocol (`http-web`), unless appProtocol does. */
    name: text,
    protocol: oneOf('TCP', 'UDP', 'SCTP').default('TCP'),
    appProtocol: text,
    port: int32.min(1).max(65535),
    /** A number, or the name of a container port; the port itself when unset. */
    targetPort: intOrString,
    nodePort: int32,
  },
  ['port', 'protocol'],
  '',
)
export type ServicePort = z.infer<typeof ServicePort>

/** The spec of a service. */
export const ServiceSpec = open(
  {
    type: oneOf('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName').default('ClusterIP'),
    selector: map(text),
    ports: list(ServicePort),
    /** An address, `None` for a headless service, unset for one that the mesh allots. */
    clusterIP: text,
    clusterIPs: list(text),
    externalName: text,
    externalIPs: list(text),
    loadBalancerIP: text,
    publishNotReadyAddresses: bool,
    sessionAffinity: oneOf('None', 'ClientIP').default('None'),
    internalTrafficPolicy: oneOf('Cluster', 'Local'),
    externalTrafficPolicy: oneOf('Cluster', 'Local'),
    trafficDistribution: text,
    ipFamilies: list(text),
    ipFamilyPolicy: text,
  },
  ['type', 'sessionAffinity'],
  'loadBalancerSourceRanges healthCheckNodePort sessionAffinityConfig allocateLoadBalancerNodePorts loadBalancerClass topologyKeys',
)
export type ServiceSpec = z.infer<typeof ServiceSpec>

/** What the cluster says of a service. */
export const ServiceStatus = open({
  loadBalancer: open({ ingress: list(open({ ip: text, hostname: text })) }),
})
export type ServiceStatus = z.infer<typeof ServiceStatus>

/** What a Service holds besides its metadata. */
export const ServiceBody = z.object({ spec: ServiceSpec, status: ServiceStatus.optional() })
