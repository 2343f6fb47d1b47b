import type { RBAC } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import { ConfigError } from '../context.ts'
import { anyOf, compileEach, type Matcher, type Subject, under } from './matcher.ts'
import { compilePermission } from './permission.ts'
import { compilePrincipal } from './principal.ts'

const DENY = 1
const LOG = 2

interface Policy {
  readonly id: string
  readonly permissions: Matcher
  readonly principals: Matcher
}

/** What an engine says of a request. */
export interface Verdict {
  readonly allowed: boolean
  /** The policy that matched first. */
  readonly policy: string | undefined
}

/** The rules of one RBAC filter: policies by name, the first that matches decides (source/extensions/filters/common/rbac/engine_impl.cc). */
export class RbacEngine {
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
        policies.push(under(`policies[${id}]`, () => compilePolicy(id, config)))
      } catch (e) {
        if (!(e instanceof ConfigError)) throw e
        errors.push(...e.errors)
      }
    }
    if (config.auditLoggingOptions?.loggerConfigs.some((logger) => !logger.isOptional))
      errors.push('audit_logging_options: loggers are not supported')
    if (errors.length > 0) throw new ConfigError(errors)
    this.policies = policies
    this.verdicts = new Map(
      [...names, undefined].map((policy) => [policy, { allowed: this.allows(policy !== undefined), policy }]),
    )
  }

  private allows(matched: boolean): boolean {
    if (this.action === LOG) return true
    return this.action === DENY ? !matched : matched
  }

  /** Its action is LOG: the verdict is told to access logs. */
  get logs(): boolean {
    return this.action === LOG
  }

  /** Decides. */
  check(subject: Subject): Verdict {
    for (const policy of this.policies) {
      if (policy.permissions.matches(subject) && policy.principals.matches(subject)) {
        return this.verdicts.get(policy.id)!
      }
    }
    return this.verdicts.get(undefined)!
  }
}

function compilePolicy(id: string, config: RBAC): Policy {
  const policy = config.policies[id]!
  if (policy.condition !== undefined || policy.checkedCondition !== undefined)
    throw new ConfigError(['condition: CEL conditions are not supported'])
  return {
    id,
    permissions: anyOf(compileEach(policy.permissions, 'permissions', compilePermission)),
    principals: anyOf(compileEach(policy.principals, 'principals', compilePrincipal)),
  }
}
