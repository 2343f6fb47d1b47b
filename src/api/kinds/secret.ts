import { z } from 'zod'
import { bool, map, text } from '../schema.ts'

/** What a Secret holds besides its metadata; `data` is base64, `stringData` plain and wins over `data`. */
export const SecretBody = z.object({
  type: text.default('Opaque'),
  data: map(text).optional(),
  stringData: map(text).optional(),
  immutable: bool.optional(),
})
