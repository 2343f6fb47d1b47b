import { z } from 'zod'
import { bool, list, open, text } from '../schema.ts'

/** What a ServiceAccount holds besides its metadata. */
export const ServiceAccountBody = z.object({
  automountServiceAccountToken: bool.optional(),
  secrets: list(open({ name: text })).optional(),
  imagePullSecrets: list(open({ name: text })).optional(),
})
