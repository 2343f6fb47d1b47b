import type { HTTPMatchRequest, HTTPRoute, StringMatch, VirtualService } from '../kinds/virtual-service.ts'
import type { Scope } from './scope.ts'

interface Rule {
  name?: string | undefined
  match?: readonly object[] | undefined
}

/** Warns of rules and matches that never apply, because an earlier one takes everything (analyzeUnreachable…Rules). */
export function warnUnreachable(scope: Scope, spec: VirtualService): void {
  for (const field of ['http', 'tcp', 'tls'] as const) warnRules(scope.at(field), spec[field] ?? [])
  warnCoveredPrefixes(scope.at('http'), spec.http ?? [])
}

function warnRules(scope: Scope, rules: readonly Rule[]): void {
  const seen = new Map<string, number>()
  let catchAll: number | undefined
  rules.forEach((rule, i) => {
    const at = scope.at(i)
    if (!rule.match?.length) {
      if (catchAll !== undefined) at.warn(`is never used: ${nameOf(rules, catchAll)} before it matches everything`)
      else catchAll = i
      return
    }
    if (catchAll !== undefined) {
      at.warn(`is never used: ${nameOf(rules, catchAll)} before it matches everything`)
      return
    }
    let duplicates = 0
    rule.match.forEach((match, j) => {
      const key = JSON.stringify({ ...match, name: undefined })
      const earlier = seen.get(key)
      if (earlier === undefined) seen.set(key, i)
      else {
        duplicates++
        at.at('match', j).warn(`is never used: ${nameOf(rules, earlier)} matches the same`)
      }
    })
    if (duplicates === rule.match.length) at.warn('is never used: all its matches are those of rules before it')
  })
}

function nameOf(rules: readonly Rule[], i: number): string {
  const name = rules[i]?.name
  return name ? `rule "${name}"` : `rule ${i}`
}

interface Prefixed {
  rule: number
  match: number
  request: HTTPMatchRequest
  prefix: string
}

/** `/foo` before `/foobar`, the other conditions being no narrower: the latter is never reached. */
function warnCoveredPrefixes(scope: Scope, routes: readonly HTTPRoute[]): void {
  const prefixed: Prefixed[] = []
  const seen = new Set<string>()
  routes.forEach((route, rule) => {
    route.match?.forEach((request, match) => {
      const key = JSON.stringify({ ...request, name: undefined })
      if (seen.has(key) || !request.uri?.prefix) return
      seen.add(key)
      prefixed.push({ rule, match, request, prefix: request.uri.prefix })
    })
  })
  prefixed.forEach((earlier, i) => {
    for (const later of prefixed.slice(i + 1)) {
      if (later.prefix === earlier.prefix || !covers(earlier, later)) continue
      const by = `match ${earlier.match} (prefix ${earlier.prefix}) of ${nameOf(routes, earlier.rule)}`
      scope.at(later.rule, 'match', later.match).warn(`is never used: ${by} takes its requests before`)
    }
  })
}

function covers(a: Prefixed, b: Prefixed): boolean {
  if (!b.prefix.startsWith(a.prefix) || (a.request.port ?? 0) !== (b.request.port ?? 0)) return false
  const method = (request: HTTPMatchRequest) => plain(request.method) || 'exact GET'
  if (!method(a.request).startsWith(method(b.request))) return false
  if (!plain(a.request.authority).startsWith(plain(b.request.authority))) return false
  return (['headers', 'queryParams', 'withoutHeaders'] as const).every((field) =>
    coversAll(a.request[field], b.request[field]),
  )
}

function coversAll(a: Record<string, StringMatch> = {}, b: Record<string, StringMatch> = {}): boolean {
  const names = Object.keys(a)
  if (names.length !== Object.keys(b).length) return false
  return names.every((name) => b[name] !== undefined && plain(a[name]).startsWith(plain(b[name])))
}

function plain(match: StringMatch | undefined): string {
  if (match?.exact) return `exact ${match.exact}`
  return match?.prefix ? `prefix ${match.prefix}` : ''
}
