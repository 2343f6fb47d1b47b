import { z } from 'zod'
import { open } from '../schema.ts'
import { LabelSelector } from './label-selector.ts'
import { PodTemplateSpec } from './pod.ts'

/** One pod per node that fits. */
export const DaemonSetSpec = open(
  { selector: LabelSelector, template: PodTemplateSpec },
  ['selector', 'template'],
  'updateStrategy minReadySeconds revisionHistoryLimit',
)
export type DaemonSetSpec = z.infer<typeof DaemonSetSpec>

/** What a DaemonSet holds besides its metadata. */
export const DaemonSetBody = z.object({ spec: DaemonSetSpec })
