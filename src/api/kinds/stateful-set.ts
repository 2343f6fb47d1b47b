import { z } from 'zod'
import { int32, list, open, text } from '../schema.ts'
import { LabelSelector } from './label-selector.ts'
import { PodTemplateSpec, TemplateMeta } from './pod.ts'

/** Pods with stable names (`<name>-<ordinal>`), which a headless service gives DNS names to. */
export const StatefulSetSpec = open(
  {
    replicas: int32.min(0).default(1),
    selector: LabelSelector,
    template: PodTemplateSpec,
    /** The headless service. */
    serviceName: text,
    ordinals: open({ start: int32 }),
    volumeClaimTemplates: list(open({ metadata: TemplateMeta })),
  },
  ['replicas', 'selector', 'template'],
  'podManagementPolicy updateStrategy revisionHistoryLimit minReadySeconds persistentVolumeClaimRetentionPolicy',
)
export type StatefulSetSpec = z.infer<typeof StatefulSetSpec>

/** What a StatefulSet holds besides its metadata. */
export const StatefulSetBody = z.object({ spec: StatefulSetSpec })
