import type { ApiObject } from '../../../api/objects.ts'
import type { Workload } from '../../../registry/model.ts'
import type { Analyzer } from '../analyzer.ts'
import type { AnalysisContext } from '../context.ts'
import { NO_TOKEN_IS_READ, TOKEN_NOT_REQUIRED, TOKENS_ARE_TAKEN_WIDELY } from './catalogue.ts'
import { actionOf, type Policy, type Values, valuesOf } from './rules.ts'

const TOKEN = /^(?:(?:not)?requestPrincipals|request\.auth\..*)$/i

/** Tokens: rules about them where none are read, and where they are read but not asked for. */
export const tokens: Analyzer = {
  name: 'dinghy.TokenAnalyzer',
  description: 'Finds rules on tokens that nothing validates, and RequestAuthentications that nothing enforces',
  types: [NO_TOKEN_IS_READ, TOKEN_NOT_REQUIRED, TOKENS_ARE_TAKEN_WIDELY],
  analyze(context) {
    const { snapshot } = context.push
    const authentications = snapshot
      .list('RequestAuthentication')
      .map((object) => ({ object, bound: context.boundBy(object) }))
    const reading = new Set(authentications.flatMap(({ object, bound }) => (object.spec.jwtRules?.length ? bound : [])))
    const policies = snapshot.list('AuthorizationPolicy')
    for (const policy of policies) unread(context, policy, reading)
    const requiring = new Set(policies.flatMap((policy) => (requires(policy) ? context.boundBy(policy) : [])))
    for (const { object, bound } of authentications) {
      const open = bound.filter((workload) => !requiring.has(workload))
      if (object.spec.jwtRules?.length && open.length > 0)
        context.report(TOKEN_NOT_REQUIRED, object, ['spec', 'jwtRules'], namesOf(open))
      if (bound.length > 0) wide(context, object)
    }
  },
}

/** Rules that do not say for whom tokens are, or where they stand. */
function wide(context: AnalysisContext, object: ApiObject<'RequestAuthentication'>): void {
  for (const [i, rule] of (object.spec.jwtRules ?? []).entries()) {
    const anyone = !rule.audiences?.length
    const anywhere = ![rule.fromHeaders, rule.fromParams, rule.fromCookies].some((places) => places?.length)
    if (!anyone && !anywhere) continue
    const passing = [
      ...(anyone ? ['whomever they are for'] : []),
      ...(anywhere ? ['from the query (access_token), which is written to logs'] : []),
    ]
    const remedies = [...(anyone ? ['audiences'] : []), ...(anywhere ? ['fromHeaders'] : [])]
    const issuer = rule.issuer || rule.jwksUri || 'any issuer'
    context.report(TOKENS_ARE_TAKEN_WIDELY, object, ['spec', 'jwtRules', i], issuer, passing, remedies)
  }
}

function unread(context: AnalysisContext, policy: Policy, reading: ReadonlySet<Workload>): void {
  const lists = valuesOf(policy).filter(({ field }) => TOKEN.test(field))
  if (lists.length === 0) return
  const open = context.boundBy(policy).filter((workload) => !reading.has(workload))
  if (open.length === 0) return
  for (const list of lists)
    context.report(NO_TOKEN_IS_READ, policy, list.path, list.field, namesOf(open), effectOf(policy, list))
}

function effectOf(policy: Policy, { not }: Values): string {
  const action = actionOf(policy)
  if (action === 'DENY') return not ? 'every request is refused' : 'the rule refuses nothing'
  if (action === 'ALLOW') return not ? 'the rule lets every request in' : 'the rule lets nothing in'
  return not ? 'the rule takes every request' : 'the rule takes no request'
}

/** A DENY of requests without a token, or an ALLOW where each rule asks for one. */
function requires(policy: Policy): boolean {
  const lists = valuesOf(policy).filter(({ field }) => TOKEN.test(field))
  if (actionOf(policy) === 'DENY') return lists.some(({ not }) => not)
  if (actionOf(policy) !== 'ALLOW') return actionOf(policy) === 'CUSTOM'
  const rules = policy.spec.rules ?? []
  return rules.every((rule) => lists.some((list) => list.rule === rule && !list.not))
}

function namesOf(workloads: readonly Workload[]): string[] {
  const names = [...new Set(workloads.map(({ workloadName, namespace }) => `${workloadName}.${namespace}`))]
  return names.length > 4 ? [...names.slice(0, 4), `… ${names.length - 4} more`] : names
}
