import type { Policy as PolicyConfig, RBAC } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import { type CelExpression, celMatches, compileCelExpr } from '../cel/expression.ts'
import { ConfigError } from '../context.ts'
import type { Subject } from '../matching/subject.ts'
import { anyOf, compileEach, type Matcher, under } from './matcher.ts'
import { compilePermission } from './permission.ts'
import { compilePrincipal } from './principal.ts'

const DENY = 1
const LOG = 2

interface Policy {
  readonly id: string
  readonly permissions: Matcher
  readonly principals: Matcher
  readonly condition: CelExpression | undefined
}

/** What an engine says of a request. */
export interface Verdict {
  readonly allowed: boolean
  /** The policy that matched. */
  readonly policy: string | undefined
  /** What is told to access logs; undefined: nothing. */
  readonly hint: boolean | undefined
}

/** What decides: the rules of a filter, or its tree. */
export interface RbacEngine {
  check(subject: Subject): Verdict
}

/** The rules of one RBAC filter: policies by name, the first that matches decides (source/extensions/filters/common/rbac/engine_impl.cc). */
export class RulesEngine implements RbacEngine {
  private readonly policies: readonly Policy[]
  private readonly action: number
  private readonly verdicts: ReadonlyMap<string | undefined, Verdict>

  /** Throws ConfigError. */
  constructor(config: RBAC) {
    this.action = config.action
    const names = Object.keys(config.policies).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const errors: string[] = []
    const policies: Policy[] = []
    for (const id of names) {
      try {
        policies.push(under(`policies[${id}]`, () => compilePolicy(id, config.policies[id]!)))
      } catch (e) {
        if (!(e instanceof ConfigError)) throw e
        errors.push(...e.errors)
      }
    }
    if (errors.length > 0) throw new ConfigError(errors)
    this.policies = policies
    this.verdicts = new Map([...names, undefined].map((policy) => [policy, this.verdict(policy)]))
  }

  private verdict(policy: string | undefined): Verdict {
    const matched = policy !== undefined
    if (this.action === LOG) return { allowed: true, policy, hint: matched }
    return { allowed: this.action === DENY ? !matched : matched, policy, hint: undefined }
  }

  /** Decides. */
  check(subject: Subject): Verdict {
    for (const { id, permissions, principals, condition } of this.policies) {
      if (!permissions.matches(subject) || !principals.matches(subject)) continue
      if (condition === undefined || celMatches(condition, subject.info)) return this.verdicts.get(id)!
    }
    return this.verdicts.get(undefined)!
  }
}

function compilePolicy(id: string, policy: PolicyConfig): Policy {
  return {
    id,
    permissions: anyOf(compileEach(policy.permissions, 'permissions', compilePermission)),
    principals: anyOf(compileEach(policy.principals, 'principals', compilePrincipal)),
    // Envoy never looks at the checked one.
    condition: compileCondition(policy),
  }
}

function compileCondition({ condition, celConfig }: PolicyConfig): CelExpression | undefined {
  try {
    return condition && compileCelExpr(condition, celConfig)
  } catch (e) {
    if (!(e instanceof ConfigError)) throw e
    throw new ConfigError(e.errors.map((error) => `condition: ${error}`))
  }
}
