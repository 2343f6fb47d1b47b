import type { AuthorizationRule } from '../../api/kinds/authorization-policy.ts'
import type { Init } from '../../xds/messages.ts'
import { type Attribute, aliasKind, conditionAttribute, OPERATION_FIELDS, SOURCE_FIELDS } from './attributes.ts'
import type { Permission, Principal } from './matchers.ts'
import { expandDomains, withAliases } from './trust-domains.ts'

type Policy = Init<'envoy.config.rbac.v3.Policy'>

/** What the translation of a rule depends on. */
export interface RuleContext {
  tcp: boolean
  /** Of an ALLOW policy: what cannot be said on this chain drops the rule. In others it is only passed over. */
  allow: boolean
  /** Namespace of the policy. */
  namespace: string
  /** The mesh's trust domain and its aliases. */
  trustDomains: readonly string[]
}

/** One attribute with the values that it must and must not have. */
interface Clause {
  attribute: Attribute
  key: string
  values: readonly string[]
  notValues: readonly string[]
}

/**
 * A rule as an RBAC policy: any `from` and any `to`, each with all of `when` (pilot/pkg/security/authz/model). Undefined when the
 * rule can never hold here, or has a condition on something unknown.
 */
export function rbacPolicy(rule: AuthorizationRule, context: RuleContext): Policy | undefined {
  const whenPermission: Clause[] = []
  const whenPrincipal: Clause[] = []
  for (const { key, values = [], notValues = [] } of rule.when ?? []) {
    const attribute = conditionAttribute(key)
    if (!attribute) return undefined
    if (values.length + notValues.length === 0) continue
    const clauses = attribute.side === 'permission' ? whenPermission : whenPrincipal
    clauses.push({ attribute, key, values, notValues })
  }
  const from = rule.from?.length ? rule.from.map(({ source }) => clausesOf(source, SOURCE_FIELDS)) : [[]]
  const to = rule.to?.length ? rule.to.map(({ operation }) => clausesOf(operation, OPERATION_FIELDS)) : [[]]
  const permissions: Permission[] = []
  for (const clauses of to) {
    const rules = join<Permission>([...clauses, ...whenPermission], context, anyPermission, notPermission)
    if (!rules) return undefined
    permissions.push({
      rule: { case: 'andRules', value: { rules: rules.length ? rules : [{ rule: { case: 'any', value: true } }] } },
    })
  }
  const principals: Principal[] = []
  for (const clauses of from) {
    const ids = join<Principal>([...clauses, ...whenPrincipal], context, anyPrincipal, notPrincipal)
    if (!ids) return undefined
    principals.push({
      identifier: { case: 'andIds', value: { ids: ids.length ? ids : [{ identifier: { case: 'any', value: true } }] } },
    })
  }
  return { permissions, principals }
}

/** A policy that nothing matches: of an AuthorizationPolicy without rules (pilot/pkg/security/authz/builder rbacPolicyMatchNever). */
export const NEVER: Policy = {
  permissions: [{ rule: { case: 'notRule', value: { rule: { case: 'any', value: true } } } }],
  principals: [{ identifier: { case: 'notId', value: { identifier: { case: 'any', value: true } } } }],
}

type Fields<T> = readonly (readonly [keyof T & string, keyof T & string, Attribute])[]

function clausesOf<T extends Partial<Record<string, string[]>>>(part: T | undefined, fields: Fields<T>): Clause[] {
  const out: Clause[] = []
  for (const [field, notField, attribute] of fields) {
    const clause = { attribute, key: field, values: part?.[field] ?? [], notValues: part?.[notField] ?? [] }
    if (clause.values.length + clause.notValues.length > 0) out.unshift(clause)
  }
  return out
}

function join<T>(
  clauses: readonly Clause[],
  context: RuleContext,
  any: (of: T[]) => T,
  not: (one: T) => T,
): T[] | undefined {
  const out: T[] = []
  for (const { attribute, key, values, notValues } of clauses) {
    for (const [list, wrap] of [
      [values, (one: T) => one],
      [notValues, not],
    ] as const) {
      if (list.length === 0) continue
      const made = attribute.generate(key, aliased(attribute, list, context.trustDomains), context) as T[] | undefined
      if (made) out.push(wrap(attribute.bare && made.length === 1 ? made[0]! : any(made)))
      else if (context.allow) return undefined
    }
  }
  return out
}

function aliased(attribute: Attribute, values: readonly string[], domains: readonly string[]): readonly string[] {
  const kind = aliasKind(attribute)
  if (kind === 'principals') return withAliases(values, domains)
  return kind === 'trustDomains' ? expandDomains(values, domains) : values
}

const anyPermission = (rules: Permission[]): Permission => ({ rule: { case: 'orRules', value: { rules } } })
const notPermission = (rule: Permission): Permission => ({ rule: { case: 'notRule', value: rule } })
const anyPrincipal = (ids: Principal[]): Principal => ({ identifier: { case: 'orIds', value: { ids } } })
const notPrincipal = (id: Principal): Principal => ({ identifier: { case: 'notId', value: id } })
