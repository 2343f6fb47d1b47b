import { z } from 'zod'
import { bool, open, text } from '../schema.ts'
import { JobSpec } from './job.ts'
import { TemplateMeta } from './pod.ts'

/** Jobs by a schedule. */
export const CronJobSpec = open(
  {
    schedule: text,
    timeZone: text,
    suspend: bool,
    concurrencyPolicy: text,
    jobTemplate: open({ metadata: TemplateMeta, spec: JobSpec }, ['spec']),
  },
  ['schedule', 'jobTemplate'],
)
export type CronJobSpec = z.infer<typeof CronJobSpec>

/** What a CronJob holds besides its metadata. */
export const CronJobBody = z.object({ spec: CronJobSpec })
