import type { Analyzer } from './analyzer.ts'
import { NO_MATCHING_WORKLOADS, REFERENCED_RESOURCE_NOT_FOUND } from './catalogue.ts'
import { selectorText } from './context.ts'

/** Policies that bind no workload, and namespaces in them that are not there (analyzers/authz/authorizationpolicies.go). */
export const authorizationPolicies: Analyzer = {
  name: 'auth.AuthorizationPoliciesAnalyzer',
  description: 'Checks the validity of authorization policies',
  types: [NO_MATCHING_WORKLOADS, REFERENCED_RESOURCE_NOT_FOUND],
  analyze(context) {
    const { rootNamespace } = context.push.mesh
    for (const policy of context.push.snapshot.list('AuthorizationPolicy')) {
      const { selector, targetRef, targetRefs, rules } = policy.spec
      const meshWide = policy.metadata.namespace === rootNamespace && !selector
      const targets = targetRef !== undefined || (targetRefs?.length ?? 0) > 0
      if (!meshWide && !targets && context.boundBy(policy).length === 0) {
        const path = selector ? ['spec', 'selector'] : []
        context.report(NO_MATCHING_WORKLOADS, policy, path, selectorText(selector?.matchLabels))
      }
      for (const [i, rule] of (rules ?? []).entries())
        for (const [j, { source }] of (rule.from ?? []).entries())
          for (const field of ['namespaces', 'notNamespaces'] as const)
            for (const [k, namespace] of (source?.[field] ?? []).entries())
              if (![...context.namespaces].some((known) => namespaceMatches(known, namespace)))
                context.report(
                  REFERENCED_RESOURCE_NOT_FOUND,
                  policy,
                  ['spec', 'rules', i, 'from', j, 'source', field, k],
                  'namespace',
                  namespace,
                )
    }
  },
}

function namespaceMatches(namespace: string, pattern: string): boolean {
  if (pattern === '*') return true
  if (pattern.startsWith('*')) return namespace.endsWith(pattern.slice(1))
  if (pattern.endsWith('*')) return namespace.startsWith(pattern.slice(0, -1))
  return namespace.toLowerCase() === pattern.toLowerCase()
}
