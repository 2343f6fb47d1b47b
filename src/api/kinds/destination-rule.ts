import type { z } from 'zod'
import { list, map, message, text } from '../schema.ts'
import { PolicySelector } from './selector.ts'
import { TrafficPolicy } from './traffic-policy.ts'

/** Some of the endpoints, by labels. */
export const Subset = message(
  {
    name: text,
    /** Empty selects all endpoints. */
    labels: map(text),
    trafficPolicy: TrafficPolicy,
  },
  ['name'],
)
export type Subset = z.infer<typeof Subset>

/** Policies for a service after routing (networking/v1alpha3/destination_rule.proto). */
export const DestinationRule = message(
  {
    /** A name without dots is a service of the own namespace; `*.` wildcards are allowed. */
    host: text,
    trafficPolicy: TrafficPolicy,
    subsets: list(Subset),
    exportTo: list(text),
    /** The client workloads of the own namespace that it is for. */
    workloadSelector: PolicySelector,
  },
  ['host'],
)
export type DestinationRule = z.infer<typeof DestinationRule>
