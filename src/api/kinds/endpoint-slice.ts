import { z } from 'zod'
import { bool, int32, list, map, oneOf, open, text } from '../schema.ts'
import { ObjectReference } from './endpoints.ts'

/** An endpoint; `ready` unset counts as ready. */
export const SliceEndpoint = open(
  {
    addresses: list(text),
    conditions: open({ ready: bool, serving: bool, terminating: bool }),
    hostname: text,
    targetRef: ObjectReference,
    nodeName: text,
    zone: text,
    deprecatedTopology: map(text),
  },
  ['addresses'],
)
export type SliceEndpoint = z.infer<typeof SliceEndpoint>

/** A port of all endpoints of the slice; its name is that of the service port. */
export const SlicePort = open(
  {
    name: text,
    port: int32.min(1).max(65535),
    protocol: oneOf('TCP', 'UDP', 'SCTP').default('TCP'),
    appProtocol: text,
  },
  ['protocol'],
)
export type SlicePort = z.infer<typeof SlicePort>

/** What an EndpointSlice holds besides its metadata; the label `kubernetes.io/service-name` names its service. */
export const EndpointSliceBody = z.object({
  addressType: oneOf('IPv4', 'IPv6', 'FQDN'),
  endpoints: list(SliceEndpoint).default([]),
  ports: list(SlicePort).optional(),
})
