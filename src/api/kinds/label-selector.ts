import type { z } from 'zod'
import { list, map, open, text } from '../schema.ts'

/** A set-based requirement: operator is In, NotIn, Exists or DoesNotExist. */
export const LabelSelectorRequirement = open({ key: text, operator: text, values: list(text) }, ['key', 'operator'])
export type LabelSelectorRequirement = z.infer<typeof LabelSelectorRequirement>

/** A Kubernetes label selector; all requirements must hold, and an empty one selects everything. */
export const LabelSelector = open({ matchLabels: map(text), matchExpressions: list(LabelSelectorRequirement) })
export type LabelSelector = z.infer<typeof LabelSelector>
