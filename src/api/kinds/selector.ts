import type { z } from 'zod'
import { map, message, text } from '../schema.ts'

/** Labels that a workload must have (networking/v1alpha3/sidecar.proto); none selects all of the namespace. */
export const WorkloadSelector = message({ labels: map(text) })
export type WorkloadSelector = z.infer<typeof WorkloadSelector>

/** Labels that a workload must have (type/v1beta1/selector.proto); none selects all of the namespace. */
export const PolicySelector = message({ matchLabels: map(text) })
export type PolicySelector = z.infer<typeof PolicySelector>

/** The gateway or service that a policy is for (type/v1beta1/selector.proto). */
export const PolicyTargetReference = message({ group: text, kind: text, name: text, namespace: text }, ['kind', 'name'])
export type PolicyTargetReference = z.infer<typeof PolicyTargetReference>
