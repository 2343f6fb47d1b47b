import type { MatchPredicate } from '#gen/envoy/config/common/matcher/v3/matcher_pb.js'
import type { Problems } from '../http/config.ts'
import type { ResponseHead } from '../http/headers.ts'
import { compileHeaderMatchers, matchAll } from '../http/router/header-matcher.ts'

/** Which responses count as errors, where not the 5xx do. */
export type ErrorMatcher = (head: ResponseHead) => boolean

/**
 * Compiles the error matcher of outlier detection: only what a response's head shows can match
 * (upstream_impl.cc processHttpForOutlierDetection, source/extensions/common/matcher).
 */
export function compileErrorMatcher(predicate: MatchPredicate, path: string, problems: Problems): ErrorMatcher {
  const { rule } = predicate
  switch (rule.case) {
    case 'orMatch':
    case 'andMatch': {
      const all = rule.value.rules.map((r, i) => compileErrorMatcher(r, `${path}.rules[${i}]`, problems))
      if (all.length < 2) problems.add(path, 'value must contain at least 2 item(s)')
      return rule.case === 'orMatch' ? (head) => all.some((m) => m(head)) : (head) => all.every((m) => m(head))
    }
    case 'notMatch': {
      const inner = compileErrorMatcher(rule.value, `${path}.not_match`, problems)
      return (head) => !inner(head)
    }
    case 'anyMatch':
      return () => true
    case 'httpResponseHeadersMatch': {
      const matchers = problems.collect(path, () => compileHeaderMatchers(rule.value.headers, `${path}.headers`)) ?? []
      return (head) => matchAll(matchers, head)
    }
    case undefined:
      problems.add(path, 'rule is required')
      return () => false
    default:
      // Requests, trailers and bodies are never shown to it.
      return () => false
  }
}
