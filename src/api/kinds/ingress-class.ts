import { z } from 'zod'
import { open, text } from '../schema.ts'

/** The spec of an IngressClass: which controller serves the Ingresses that name it. */
export const IngressClassSpec = open({ controller: text }, [], 'parameters')
export type IngressClassSpec = z.infer<typeof IngressClassSpec>

/** What an IngressClass holds besides its metadata. */
export const IngressClassBody = z.object({ spec: IngressClassSpec.optional() })
