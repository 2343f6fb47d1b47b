import { z } from 'zod'
import { bool, map, text } from '../schema.ts'

/** What a ConfigMap holds besides its metadata; `binaryData` is base64. */
export const ConfigMapBody = z.object({
  data: map(text).optional(),
  binaryData: map(text).optional(),
  immutable: bool.optional(),
})
