import { z } from 'zod'
import { int32, open } from '../schema.ts'
import { LabelSelector } from './label-selector.ts'
import { PodTemplateSpec } from './pod.ts'

/** A number of equal pods. */
export const ReplicaSetSpec = open(
  { replicas: int32.min(0).default(1), selector: LabelSelector, template: PodTemplateSpec },
  ['replicas', 'selector', 'template'],
  'minReadySeconds',
)
export type ReplicaSetSpec = z.infer<typeof ReplicaSetSpec>

/** What a ReplicaSet holds besides its metadata. */
export const ReplicaSetBody = z.object({ spec: ReplicaSetSpec })
