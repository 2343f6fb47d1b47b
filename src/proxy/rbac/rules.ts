import type { Message } from '@bufbuild/protobuf'
import type { RBAC } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import { Problems } from '../http/config.ts'
import type { Counter, StatsStore } from '../observe/stats.ts'
import { mergeDynamicMetadata } from '../stream-info.ts'
import { RbacEngine, type Verdict } from './engine.ts'
import type { Subject } from './matcher.ts'

const COMMON = 'envoy.common'

/** What the configs of the HTTP and the network filter have in common. */
interface RulesConfig {
  readonly rules?: RBAC | undefined
  readonly shadowRules?: RBAC | undefined
  readonly matcher?: Message | undefined
  readonly shadowMatcher?: Message | undefined
  readonly rulesStatPrefix?: string
  readonly shadowRulesStatPrefix?: string
  readonly trackPerRuleStats?: boolean
}

/** The compiled rules of one filter, or of a route: those enforced, and those that are only watched. */
export class RbacRules {
  readonly enforced: RbacEngine | undefined
  readonly shadow: RbacEngine | undefined
  readonly prefix: string
  readonly shadowPrefix: string
  readonly perRule: boolean

  /** Throws ConfigError. */
  constructor(config: RulesConfig) {
    const problems = new Problems()
    if (config.matcher) problems.add('matcher', 'not supported')
    if (config.shadowMatcher) problems.add('shadow_matcher', 'not supported')
    const { rules, shadowRules } = config
    this.enforced = rules && problems.collect('rules', () => new RbacEngine(rules))
    this.shadow = shadowRules && problems.collect('shadow_rules', () => new RbacEngine(shadowRules))
    this.prefix = config.rulesStatPrefix ?? ''
    this.shadowPrefix = config.shadowRulesStatPrefix ?? ''
    this.perRule = config.trackPerRuleStats ?? false
    problems.throwIfAny()
  }

  /** Watches, without effect on traffic. */
  watch(subject: Subject, namespace: string, stats: RbacStats): void {
    if (this.shadow === undefined) return
    const { allowed, policy } = this.shadow.check(subject)
    const values: Record<string, unknown> = {}
    if (policy !== undefined) values[`${this.shadowPrefix}shadow_effective_policy_id`] = policy
    values[`${this.shadowPrefix}shadow_engine_result`] = allowed ? 'allowed' : 'denied'
    mergeDynamicMetadata(subject.info, namespace, values)
    ;(allowed ? stats.shadowAllowed : stats.shadowDenied).inc()
    if (this.perRule) stats.countPolicy(this.shadowPrefix, policy, allowed ? 'shadow_allowed' : 'shadow_denied')
  }

  /** Decides; undefined where nothing is enforced. */
  judge(subject: Subject, namespace: string, stats: RbacStats): Verdict | undefined {
    if (this.enforced === undefined) return undefined
    const verdict = this.enforced.check(subject)
    const { allowed, policy } = verdict
    const values: Record<string, unknown> = {}
    if (policy !== undefined) values[`${this.prefix}enforced_effective_policy_id`] = policy
    values[`${this.prefix}enforced_engine_result`] = allowed ? 'allowed' : 'denied'
    mergeDynamicMetadata(subject.info, namespace, values)
    if (this.enforced.logs) mergeDynamicMetadata(subject.info, COMMON, { access_log_hint: policy !== undefined })
    ;(allowed ? stats.allowed : stats.denied).inc()
    if (this.perRule) stats.countPolicy(this.prefix, policy, allowed ? 'allowed' : 'denied')
    return verdict
  }
}

/** The details of a refusal, for logs: which policy it was (source/extensions/filters/common/rbac/utility.cc responseDetail). */
export const denialDetails = (policy: string | undefined): string =>
  `rbac_access_denied_matched_policy[${(policy ?? 'none').replace(/\s/g, '_')}]`

/** A prefix of counters as a part of their names of its own. */
const part = (prefix: string): string => (prefix === '' || prefix.endsWith('.') ? prefix : `${prefix}.`)

/** Counters of one filter. */
export class RbacStats {
  readonly allowed: Counter
  readonly denied: Counter
  readonly shadowAllowed: Counter
  readonly shadowDenied: Counter
  private readonly stats: StatsStore
  private readonly base: string

  /** `base`: `…rbac.` */
  constructor(stats: StatsStore, base: string, rules: RbacRules) {
    this.stats = stats
    this.base = base
    this.allowed = stats.counter(`${base}${part(rules.prefix)}allowed`)
    this.denied = stats.counter(`${base}${part(rules.prefix)}denied`)
    this.shadowAllowed = stats.counter(`${base}${part(rules.shadowPrefix)}shadow_allowed`)
    this.shadowDenied = stats.counter(`${base}${part(rules.shadowPrefix)}shadow_denied`)
  }

  countPolicy(prefix: string, policy: string | undefined, verdict: string): void {
    if (policy !== undefined) this.stats.counter(`${this.base}${part(prefix)}policy.${policy}.${verdict}`).inc()
  }
}
