import type { ProxyContext } from '../../context.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { Descriptor, DescriptorSubject } from '../../http/rate-limit/descriptor.ts'
import type { RateLimitPolicies } from '../../http/rate-limit/policies.ts'
import { descriptorSubject } from '../../http/rate-limit/subject.ts'
import { type LocalRateLimitConfig, VirtualHostLimits } from './config.ts'

/** Whoever gives a disable key switches the rate limit off here, whatever the key says. */
const ALL_DISABLED = (): boolean => true

const NONE: readonly Descriptor[] = []

/** What a request is counted as (LocalRateLimitFilter::Filter::populateDescriptors). */
export class DescriptorSource {
  private readonly proxy: ProxyContext

  constructor(proxy: ProxyContext) {
    this.proxy = proxy
  }

  /** By the config's own rate limits; without any, by those of the route and its virtual host. */
  descriptors(config: LocalRateLimitConfig, slot: FilterSlot): readonly Descriptor[] {
    const route = slot.route()
    const out: Descriptor[] = []
    if (!config.rateLimits.empty) {
      const subject = route === undefined ? this.lost(slot) : descriptorSubject(slot, route, this.proxy)
      config.rateLimits.populate(out, 0, subject, false)
      return out
    }
    const forward = route?.forward
    if (route === undefined || forward === undefined) return NONE
    const ofHost = route.virtualHost.rateLimits
    const withHost =
      forward.includeVhRateLimits ||
      config.virtualHostLimits === VirtualHostLimits.INCLUDE ||
      (config.virtualHostLimits === VirtualHostLimits.OVERRIDE && forward.rateLimits.empty)
    if (forward.rateLimits.empty && (!withHost || ofHost.empty)) return NONE
    const subject = descriptorSubject(slot, route, this.proxy)
    populate(out, forward.rateLimits, config.stage, subject)
    if (withHost) populate(out, ofHost, config.stage, subject)
    return out
  }

  /** A request without a route. */
  private lost({ request, info, connection }: FilterSlot): DescriptorSubject {
    const { cluster } = this.proxy.node
    return {
      request,
      info,
      connection,
      localCluster: cluster,
      routeCluster: undefined,
      clusterMetadata: undefined,
      routeMetadata: undefined,
    }
  }
}

/** Whether they are for the end of streams makes no difference here. */
function populate(out: Descriptor[], policies: RateLimitPolicies, stage: number, subject: DescriptorSubject): void {
  policies.populate(out, stage, subject, false, ALL_DISABLED)
  if (policies.anyOnStreamDone) policies.populate(out, stage, subject, true, ALL_DISABLED)
}
