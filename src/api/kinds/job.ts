import { z } from 'zod'
import { bool, int32, open, text } from '../schema.ts'
import { LabelSelector } from './label-selector.ts'
import { PodTemplateSpec } from './pod.ts'

/** Pods that run to their end. */
export const JobSpec = open(
  {
    template: PodTemplateSpec,
    selector: LabelSelector,
    parallelism: int32.min(0),
    completions: int32.min(0),
    completionMode: text,
    backoffLimit: int32.min(0),
    suspend: bool,
  },
  ['template'],
  'activeDeadlineSeconds podFailurePolicy successPolicy backoffLimitPerIndex maxFailedIndexes manualSelector ttlSecondsAfterFinished podReplacementPolicy managedBy',
)
export type JobSpec = z.infer<typeof JobSpec>

/** What a Job holds besides its metadata. */
export const JobBody = z.object({ spec: JobSpec })
