import type { Analyzer } from '../analyzer.ts'
import { attachments } from './attachments.ts'
import { envoyFilterValues } from './envoy-filter-values.ts'
import { identities } from './identities.ts'
import { layer4 } from './layer4.ts'
import { links } from './links.ts'
import { paths } from './paths.ts'
import { requests } from './requests.ts'
import { tokens } from './tokens.ts'

/** Analyzers of this project: what a real Istio lets through, or never does, without saying so. */
export const OWN_ANALYZERS: readonly Analyzer[] = [
  attachments,
  envoyFilterValues,
  identities,
  layer4,
  links,
  paths,
  requests,
  tokens,
]
