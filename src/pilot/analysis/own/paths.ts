import type { Analyzer } from '../analyzer.ts'
import { DENY_PATH_GAPS, DENY_PATH_SPELLINGS, PATH_IS_LITERAL, PATH_NEVER_MATCHES } from './catalogue.ts'
import { gapsOf, looksLikePattern, neverMatches, type PathMode, pathMode } from './path-variants.ts'
import { isOpenEnded, valuesOf } from './rules.ts'

/** How many spellings are shown. */
const MAX_SHOWN = 7

/** Paths of policies: which spellings get past a refusal, and which can never match. */
export const paths: Analyzer = {
  name: 'dinghy.PathAnalyzer',
  description: 'Finds spellings that get past a refusal by path, and paths that never match',
  types: [DENY_PATH_GAPS, DENY_PATH_SPELLINGS, PATH_IS_LITERAL, PATH_NEVER_MATCHES],
  analyze(context) {
    const mode = pathMode(context.push.mesh.pathNormalization?.normalization)
    for (const policy of context.push.snapshot.list('AuthorizationPolicy')) {
      const lists = valuesOf(policy).filter(({ field }) => field === 'paths' || field === 'notPaths')
      for (const list of lists) {
        const others = lists.filter(({ field }) => field === list.field).flatMap(({ values }) => values)
        for (const [i, pattern] of list.values.entries()) {
          const path = [...list.path, i]
          const never = neverMatches(pattern, mode)
          if (never) {
            context.report(PATH_NEVER_MATCHES, policy, path, pattern, never.why, never.remedy)
            continue
          }
          if (looksLikePattern(pattern)) {
            context.report(PATH_IS_LITERAL, policy, path, pattern)
            continue
          }
          if (!isOpenEnded(policy, list)) continue
          const { mendable, spellings, remedy } = gapsOf(pattern, others, mode)
          if (mendable.length > 0)
            context.report(
              DENY_PATH_GAPS,
              policy,
              path,
              pattern,
              mode,
              mendable.slice(0, MAX_SHOWN),
              remedyOf(pattern, mendable, remedy),
            )
          if (spellings.length > 0)
            context.report(DENY_PATH_SPELLINGS, policy, path, pattern, spellings.slice(0, MAX_SHOWN))
        }
      }
    }
  },
}

function remedyOf(pattern: string, passing: readonly string[], mode: PathMode | undefined): string {
  const parent = pattern.replace(/\/(?:\*|\{\*\*\})$/, '')
  const missing = passing.includes(`${pattern}/`)
    ? `${pattern}/*`
    : parent !== pattern && passing.includes(parent) && parent
  const deeper = missing && `name ${missing} as well`
  const normalize = mode && `set MeshConfig pathNormalization.normalization to ${mode}`
  const steps = [normalize, deeper].filter(Boolean).join(' and ')
  return `${steps[0]?.toUpperCase()}${steps.slice(1)}, or write an ALLOW policy that names the paths to let in.`
}
