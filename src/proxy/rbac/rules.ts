import type { RBAC } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import type { Matcher } from '#gen/xds/type/matcher/v3/matcher_pb.js'
import { Problems } from '../http/config.ts'
import type { Subject } from '../matching/subject.ts'
import type { Counter, StatsStore } from '../observe/stats.ts'
import { mergeDynamicMetadata } from '../stream-info.ts'
import { type RbacEngine, RulesEngine, type Verdict } from './engine.ts'
import { type Layer, TreeEngine } from './tree-engine.ts'

const COMMON = 'envoy.common'

/** What the configs of the HTTP and the network filter have in common. */
interface RulesConfig {
  readonly rules?: RBAC | undefined
  readonly shadowRules?: RBAC | undefined
  readonly matcher?: Matcher | undefined
  readonly shadowMatcher?: Matcher | undefined
  readonly rulesStatPrefix?: string
  readonly shadowRulesStatPrefix?: string
  readonly trackPerRuleStats?: boolean
}

/** What rules are compiled for. */
export interface RulesContext {
  readonly layer: Layer
  /** Unset for routes: matchers that count are counted nowhere. */
  readonly stats?: StatsStore
  /** Says that a field has no effect. */
  readonly notEnforced?: ((path: string) => void) | undefined
}

/** Values for the dynamic metadata of the filter. */
export type RbacMetadata = Record<string, string>

/** The compiled rules of one filter, or of a route: those enforced, and those that are only watched. */
export class RbacRules {
  readonly enforced: RbacEngine | undefined
  readonly shadow: RbacEngine | undefined
  readonly prefix: string
  readonly shadowPrefix: string
  readonly perRule: boolean

  /** Throws ConfigError. */
  constructor(config: RulesConfig, context: RulesContext) {
    const problems = new Problems()
    this.enforced = engine(config.rules, config.matcher, '', problems, context)
    this.shadow = engine(config.shadowRules, config.shadowMatcher, 'shadow_', problems, context)
    this.prefix = config.rulesStatPrefix ?? ''
    this.shadowPrefix = config.shadowRulesStatPrefix ?? ''
    this.perRule = config.trackPerRuleStats ?? false
    problems.throwIfAny()
  }

  /** Watches, without effect on traffic. `prefix`: of the keys in `metadata`. */
  watch(subject: Subject, stats: RbacStats, metadata: RbacMetadata, prefix = this.shadowPrefix): void {
    if (this.shadow === undefined) return
    const { allowed, policy } = this.shadow.check(subject)
    if (policy !== undefined) metadata[`${prefix}shadow_effective_policy_id`] = policy
    metadata[`${prefix}shadow_engine_result`] = allowed ? 'allowed' : 'denied'
    stats.watched(allowed, this.perRule ? policy : undefined)
  }

  /** Decides; undefined where nothing is enforced. */
  judge(
    subject: Subject,
    stats: RbacStats,
    metadata: RbacMetadata | undefined,
    prefix = this.prefix,
  ): Verdict | undefined {
    if (this.enforced === undefined) return undefined
    const verdict = this.enforced.check(subject)
    const { allowed, policy, hint } = verdict
    if (metadata !== undefined) {
      if (policy !== undefined) metadata[`${prefix}enforced_effective_policy_id`] = policy
      metadata[`${prefix}enforced_engine_result`] = allowed ? 'allowed' : 'denied'
    }
    if (hint !== undefined) mergeDynamicMetadata(subject.info, COMMON, { access_log_hint: hint })
    stats.judged(allowed, this.perRule ? policy : undefined)
    return verdict
  }
}

/** A tree takes the place of rules. */
function engine(
  rules: RBAC | undefined,
  tree: Matcher | undefined,
  prefix: string,
  problems: Problems,
  { layer, stats, notEnforced }: RulesContext,
): RbacEngine | undefined {
  if (tree) return problems.collect(`${prefix}matcher`, () => new TreeEngine(tree, layer, stats))
  // Envoy knows the field, and has nothing that would write such logs.
  if (rules?.auditLoggingOptions) notEnforced?.(`${prefix}rules.audit_logging_options`)
  return rules && problems.collect(`${prefix}rules`, () => new RulesEngine(rules))
}

/** The details of a refusal, for logs: which policy it was (source/extensions/filters/common/rbac/utility.cc responseDetail). */
export const denialDetails = (policy: string | undefined): string =>
  `rbac_access_denied_matched_policy[${(policy ?? 'none').replace(/\s/g, '_')}]`

/** A prefix of counters as a part of their names of its own. */
const part = (prefix: string): string => (prefix === '' || prefix.endsWith('.') ? prefix : `${prefix}.`)

/** Counters of one filter. */
export class RbacStats {
  private readonly allowed: Counter
  private readonly denied: Counter
  private readonly shadowAllowed: Counter
  private readonly shadowDenied: Counter
  private readonly stats: StatsStore
  private readonly policies: string
  private readonly shadowPolicies: string

  /** `base`: `…rbac.`; counters of routes with rules of their own are those of the filter, too. */
  constructor(stats: StatsStore, base: string, rules: RbacRules) {
    this.stats = stats
    const [enforced, shadow] = [`${base}${part(rules.prefix)}`, `${base}${part(rules.shadowPrefix)}`]
    this.allowed = stats.counter(`${enforced}allowed`)
    this.denied = stats.counter(`${enforced}denied`)
    this.shadowAllowed = stats.counter(`${shadow}shadow_allowed`)
    this.shadowDenied = stats.counter(`${shadow}shadow_denied`)
    this.policies = `${enforced}policy.`
    this.shadowPolicies = `${shadow}policy.`
  }

  /** Counts a decision, and for a policy if one is given. */
  judged(allowed: boolean, policy: string | undefined): void {
    ;(allowed ? this.allowed : this.denied).inc()
    if (policy !== undefined) this.stats.counter(`${this.policies}${policy}.${allowed ? 'allowed' : 'denied'}`).inc()
  }

  /** Counts what would have been decided. */
  watched(allowed: boolean, policy: string | undefined): void {
    ;(allowed ? this.shadowAllowed : this.shadowDenied).inc()
    if (policy === undefined) return
    this.stats.counter(`${this.shadowPolicies}${policy}.${allowed ? 'shadow_allowed' : 'shadow_denied'}`).inc()
  }
}
