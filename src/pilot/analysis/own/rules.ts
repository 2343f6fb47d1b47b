import type { AuthorizationRule, Operation, Source } from '../../../api/kinds/authorization-policy.ts'
import type { ApiObject, Path } from '../../../api/objects.ts'

export type Policy = ApiObject<'AuthorizationPolicy'>
export type Action = NonNullable<Policy['spec']['action']>

/** A list of values in a policy, and where it stands. */
export interface Values {
  /** The field as written: `paths`, `notPrincipals`, or the key of a condition (`not ` before it for notValues). */
  readonly field: string
  readonly values: readonly string[]
  /** Whether it is the negative form. */
  readonly not: boolean
  readonly path: Path
  readonly rule: AuthorizationRule
}

export const actionOf = ({ spec }: Policy): Action => spec.action ?? 'ALLOW'

/** All lists of values of a policy, field by field. */
export function valuesOf(policy: Policy): Values[] {
  return (policy.spec.rules ?? []).flatMap((rule, i) => ruleValues(rule, ['spec', 'rules', i]))
}

function ruleValues(rule: AuthorizationRule, at: Path): Values[] {
  const out: Values[] = []
  const add = (part: Source | Operation | undefined, path: Path): void => {
    for (const [field, values] of Object.entries(part ?? {}))
      if (Array.isArray(values) && values.length > 0)
        out.push({ field, values, not: field.startsWith('not'), path: [...path, field], rule })
  }
  for (const [i, { source }] of (rule.from ?? []).entries()) add(source, [...at, 'from', i, 'source'])
  for (const [i, { operation }] of (rule.to ?? []).entries()) add(operation, [...at, 'to', i, 'operation'])
  for (const [i, { key, values, notValues }] of (rule.when ?? []).entries()) {
    if (values?.length) out.push({ field: key, values, not: false, path: [...at, 'when', i, 'values'], rule })
    if (notValues?.length)
      out.push({ field: key, values: notValues, not: true, path: [...at, 'when', i, 'notValues'], rule })
  }
  return out
}

/**
 * Whether what is not named is let through: a DENY that names what to refuse, or an ALLOW that names what not to allow.
 */
export const isOpenEnded = (policy: Policy, { not }: Pick<Values, 'not'>): boolean =>
  (actionOf(policy) === 'DENY' && !not) || (actionOf(policy) === 'ALLOW' && not)

const HTTP_FIELDS =
  /^(?:(?:not)?(?:Hosts|Methods|Paths|RequestPrincipals)|hosts|methods|paths|requestPrincipals|request\..*)$/

/** Fields of a rule that mean something on HTTP only. */
export function httpFields(rule: AuthorizationRule): string[] {
  return [...new Set(ruleValues(rule, []).flatMap(({ field }) => (HTTP_FIELDS.test(field) ? [field] : [])))]
}

/** The ports that a rule is limited to; undefined: all. */
export function portsOf(rule: AuthorizationRule): ReadonlySet<string> | undefined {
  const stated = (rule.to ?? []).map(({ operation }) => operation?.ports ?? [])
  const conditions = (rule.when ?? []).flatMap(({ key, values }) => (key === 'destination.port' ? [values ?? []] : []))
  if (stated.length > 0 && stated.every((ports) => ports.length > 0)) conditions.push(stated.flat())
  const [first, ...more] = conditions
  return first && new Set(first.filter((port) => more.every((ports) => ports.includes(port))))
}
