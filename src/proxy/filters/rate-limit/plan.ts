import type { Descriptor, DescriptorSubject } from '../../http/rate-limit/descriptor.ts'
import { disabledBy, type RateLimitPolicies } from '../../http/rate-limit/policies.ts'
import type { Forward, Route } from '../../http/router/route.ts'
import type { RuntimeValues } from '../../runtime-values.ts'
import { type RateLimitSettings, type RouteRateLimit, VhRateLimits } from './settings.ts'

/** Policies with the stage at which they are looked at. */
interface StagedPolicies {
  readonly policies: RateLimitPolicies
  readonly stage: number
}

/**
 * Which rate limits a route's requests are counted by: those of its own filter config, else of the filter, else of the
 * route and its virtual host (ratelimit.cc populateRateLimitDescriptors). Made once for a route.
 */
export class RateLimitPlan {
  readonly domain: string
  readonly empty: boolean
  readonly anyOnStreamDone: boolean
  /** Subset of the service's hosts that the route asks for. */
  readonly metadataMatch: Forward['metadataMatch']
  private readonly parts: readonly StagedPolicies[]

  constructor(settings: RateLimitSettings, route: Route, forward: Forward, own: RouteRateLimit | undefined) {
    this.domain = own?.domain || settings.domain
    this.metadataMatch = forward.metadataMatch
    const parts = partsOf(settings, route, forward, own).filter(({ policies }) => !policies.empty)
    this.parts = parts
    this.empty = parts.length === 0
    this.anyOnStreamDone = parts.some(({ policies }) => policies.anyOnStreamDone)
  }

  /** The descriptors of a request now, or at its end. */
  descriptors(
    subject: DescriptorSubject,
    onStreamDone: boolean,
    values: RuntimeValues | undefined,
    randomU32: () => number,
  ): Descriptor[] {
    const out: Descriptor[] = []
    const disabled = disabledBy(values, randomU32)
    for (const { policies, stage } of this.parts) policies.populate(out, stage, subject, onStreamDone, disabled)
    return out
  }
}

function partsOf(
  settings: RateLimitSettings,
  route: Route,
  forward: Forward,
  own: RouteRateLimit | undefined,
): StagedPolicies[] {
  // Those of filter configs have no stages.
  if (own !== undefined && !own.rateLimits.empty) return [{ policies: own.rateLimits, stage: 0 }]
  if (!settings.rateLimits.empty) return [{ policies: settings.rateLimits, stage: 0 }]
  const { stage } = settings
  const ofRoute = { policies: forward.rateLimits, stage }
  const ofHost = { policies: route.virtualHost.rateLimits, stage }
  const option = forward.includeVhRateLimits ? VhRateLimits.INCLUDE : (own?.vhRateLimits ?? VhRateLimits.OVERRIDE)
  const withHost = option === VhRateLimits.INCLUDE || (option === VhRateLimits.OVERRIDE && forward.rateLimits.empty)
  return withHost ? [ofRoute, ofHost] : [ofRoute]
}
