import type { z } from 'zod'
import { int64, list, message, oneOf, struct, text, uint32 } from '../schema.ts'
import { WorkloadSelector } from './selector.ts'
import { WorkloadEntry } from './workload-entry.ts'

/** A port of the service; names and numbers are unique. */
export const ServicePort = message(
  {
    number: uint32,
    protocol: text,
    name: text,
    /** The number when unset. */
    targetPort: uint32,
  },
  ['number', 'name'],
)
export type ServicePort = z.infer<typeof ServicePort>

/** A service that is not in Kubernetes (networking/v1alpha3/service_entry.proto). */
export const ServiceEntry = message(
  {
    hosts: list(text),
    addresses: list(text),
    ports: list(ServicePort),
    /** MESH_EXTERNAL when unset. */
    location: oneOf('MESH_EXTERNAL', 'MESH_INTERNAL'),
    /** NONE when unset. */
    resolution: oneOf('NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'),
    endpoints: list(WorkloadEntry),
    workloadSelector: WorkloadSelector,
    exportTo: list(text),
    /** Expected in the certificate of the service. */
    subjectAltNames: list(text),
  },
  ['hosts'],
)
export type ServiceEntry = z.infer<typeof ServiceEntry>

/** An address given to a host. */
export const ServiceEntryAddress = message({
  value: text,
  host: text,
})
export type ServiceEntryAddress = z.infer<typeof ServiceEntryAddress>

/** Written by the control plane. */
export const ServiceEntryStatus = message({
  conditions: list(struct),
  validationMessages: list(struct),
  observedGeneration: int64,
  addresses: list(ServiceEntryAddress),
})
export type ServiceEntryStatus = z.infer<typeof ServiceEntryStatus>
