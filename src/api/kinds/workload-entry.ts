import type { z } from 'zod'
import { map, message, text, uint32 } from '../schema.ts'

/** One workload outside Kubernetes (networking/v1alpha3/workload_entry.proto). */
export const WorkloadEntry = message({
  /** IP, `unix:///path`, or a DNS name where the ServiceEntry resolves by DNS. */
  address: text,
  /** Port name of the service to the number here. */
  ports: map(uint32),
  labels: map(text),
  network: text,
  /** `region/zone/subzone`. */
  locality: text,
  weight: uint32,
  /** Its identity; having one implies mTLS. */
  serviceAccount: text,
})
export type WorkloadEntry = z.infer<typeof WorkloadEntry>
