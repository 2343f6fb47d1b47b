import type { RateLimit as RateLimitProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import { runtimePercent } from '../../runtime-values.ts'
import type { Problems } from '../config.ts'
import { compileAction, type DescriptorAction } from './actions.ts'
import type { RateLimitContext } from './context.ts'
import type { Descriptor, DescriptorEntry, DescriptorSubject, XRateLimitOption } from './descriptor.ts'
import { compileHits, type HitsSource } from './hits-addend.ts'
import { compileLimit, type LimitSource } from './limit-override.ts'

/**
 * Where rate limits stand, which decides what they may say: on routes and virtual hosts they have stages and limits, in
 * the config of a rate limit filter hits; `local` is that of a filter that knows its limits itself.
 */
export type RateLimitPlace = 'route' | 'filter' | 'local'

interface Policy {
  readonly stage: number
  readonly disableKey: string
  readonly onStreamDone: boolean
  readonly actions: readonly DescriptorAction[]
  readonly limit: LimitSource | undefined
  readonly hits: HitsSource | undefined
  readonly negativeHits: boolean
  readonly xRateLimitOption: XRateLimitOption
}

/** Rate limits of one route, virtual host or filter, by stage (RateLimitPolicyImpl, RateLimitConfig). */
export class RateLimitPolicies {
  private readonly policies: readonly Policy[]

  constructor(policies: readonly Policy[]) {
    this.policies = policies
  }

  get empty(): boolean {
    return this.policies.length === 0
  }

  /** Whether some are for the end of streams. */
  get anyOnStreamDone(): boolean {
    return this.policies.some((policy) => policy.onStreamDone)
  }

  /**
   * Appends the descriptors that a request has at a stage, in the order of the config. `disabled` tells which disable
   * keys are in force; undefined: none.
   */
  populate(
    out: Descriptor[],
    stage: number,
    subject: DescriptorSubject,
    onStreamDone: boolean,
    disabled?: (key: string) => boolean,
  ): void {
    for (let i = 0; i < this.policies.length; i++) {
      const policy = this.policies[i]!
      if (policy.stage !== stage || policy.onStreamDone !== onStreamDone) continue
      if (policy.disableKey !== '' && disabled?.(policy.disableKey) === true) continue
      const descriptor = descriptorOf(policy, subject)
      if (descriptor !== undefined) out.push(descriptor)
    }
  }
}

function descriptorOf(policy: Policy, subject: DescriptorSubject): Descriptor | undefined {
  const entries = entriesOf(policy.actions, subject)
  if (entries === undefined) return undefined
  const hitsAddend = policy.hits?.(subject.info)
  if (policy.hits !== undefined && hitsAddend === undefined) return undefined
  const { negativeHits, xRateLimitOption } = policy
  return { entries, limit: policy.limit?.(subject), hitsAddend, negativeHits, xRateLimitOption }
}

/** Undefined where an action fails. Unlike hits, entries know nothing of the response, even when there is one. */
function entriesOf(actions: readonly DescriptorAction[], subject: DescriptorSubject): DescriptorEntry[] | undefined {
  const { info } = subject
  const { response, responseTrailers } = info
  info.response = undefined
  info.responseTrailers = undefined
  const entries: DescriptorEntry[] = []
  const whole = actions.every((action) => action(entries, subject))
  info.response = response
  info.responseTrailers = responseTrailers
  return whole ? entries : undefined
}

/** No rate limits. */
export const NO_RATE_LIMITS = new RateLimitPolicies([])

/** Compiles `rate_limits`; errors go to `problems` under `path`. */
export function compileRateLimits(
  configs: readonly RateLimitProto[],
  place: RateLimitPlace,
  context: RateLimitContext,
  problems: Problems,
  path: string,
): RateLimitPolicies {
  if (configs.length === 0) return NO_RATE_LIMITS
  const policies = configs.flatMap(
    (config, i) => problems.collect(`${path}[${i}]`, () => compilePolicy(config, place, context)) ?? [],
  )
  return new RateLimitPolicies(policies)
}

function compilePolicy(config: RateLimitProto, place: RateLimitPlace, context: RateLimitContext): Policy {
  const { actions, stage, disableKey, limit, hitsAddend, applyOnStreamDone, xRatelimitOption } = config
  const ofRoute = place === 'route'
  if (!ofRoute && (stage !== undefined || disableKey !== ''))
    throw new ConfigError(["'stage' field and 'disable_key' field are not supported"])
  if (place === 'local' && limit !== undefined) throw new ConfigError(["'limit' field is not supported"])
  return {
    stage: stage ?? 0,
    disableKey,
    onStreamDone: applyOnStreamDone,
    actions: actions.map((action) => compileAction(action, context)),
    limit: limit && compileLimit(limit),
    // Those of routes are read past, whatever they say.
    hits: ofRoute ? undefined : hitsAddend && compileHits(hitsAddend, context.runtime),
    negativeHits: !ofRoute && hitsAddend?.isNegativeHits === true,
    xRateLimitOption: xRatelimitOption as number as XRateLimitOption,
  }
}

/** Whether a disable key is in force: its runtime value is below what lets every request through. */
export const disabledBy = (values: RateLimitContext['values'], randomU32: () => number) => {
  return (key: string): boolean =>
    randomU32() % 100 >= runtimePercent(`ratelimit.${key}.http_filter_enabled`, 100, values)
}
