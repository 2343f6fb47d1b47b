import { z } from 'zod'
import { open, text } from '../schema.ts'

/** What a Namespace holds besides its metadata. */
export const NamespaceBody = z.object({ status: open({ phase: text }).optional() })
