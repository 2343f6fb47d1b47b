import { z } from 'zod'
import { int32, list, oneOf, open, text } from '../schema.ts'

/** A reference to another object, mostly a pod. */
export const ObjectReference = open({ kind: text, name: text, namespace: text, uid: text })
export type ObjectReference = z.infer<typeof ObjectReference>

/** An address of an endpoint. */
export const EndpointAddress = open({ ip: text, hostname: text, nodeName: text, targetRef: ObjectReference }, ['ip'])
export type EndpointAddress = z.infer<typeof EndpointAddress>

/** A port of an endpoint; its name is that of the service port. */
export const EndpointPort = open(
  {
    name: text,
    port: int32.min(1).max(65535),
    protocol: oneOf('TCP', 'UDP', 'SCTP').default('TCP'),
    appProtocol: text,
  },
  ['port', 'protocol'],
)
export type EndpointPort = z.infer<typeof EndpointPort>

/** Addresses that share a set of ports. */
export const EndpointSubset = open({
  addresses: list(EndpointAddress),
  notReadyAddresses: list(EndpointAddress),
  ports: list(EndpointPort),
})
export type EndpointSubset = z.infer<typeof EndpointSubset>

/** What an Endpoints object (of the service with the same name) holds besides its metadata. */
export const EndpointsBody = z.object({ subsets: list(EndpointSubset).optional() })
