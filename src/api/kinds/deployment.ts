import { z } from 'zod'
import { int32, open } from '../schema.ts'
import { LabelSelector } from './label-selector.ts'
import { PodTemplateSpec } from './pod.ts'

/** A number of equal pods. */
export const DeploymentSpec = open(
  { replicas: int32.min(0).default(1), selector: LabelSelector, template: PodTemplateSpec, minReadySeconds: int32 },
  ['replicas', 'selector', 'template'],
  'strategy revisionHistoryLimit paused progressDeadlineSeconds',
)
export type DeploymentSpec = z.infer<typeof DeploymentSpec>

/** What a Deployment holds besides its metadata. */
export const DeploymentBody = z.object({ spec: DeploymentSpec })
