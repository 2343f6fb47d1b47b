import type { ExtAuthz } from '#gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import type { FilterSlot } from '../../http/filter-slot.ts'
import type { GrpcContext } from '../../http/grpc-client.ts'
import { GrpcService } from '../../http/grpc-service.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import type { HttpFilterContext } from '../filter.ts'
import type { Authorizer } from './authorizer.ts'
import { GrpcAuthorizer } from './grpc-authorizer.ts'
import { HttpAuthorizer } from './http-authorizer.ts'
import type { HttpServiceConfig } from './http-service.ts'
import type { RouteSettings } from './per-route.ts'
import type { ExtAuthzSettings } from './settings.ts'
import { ExtAuthzStats } from './stats.ts'

/** What the requests of one filter have in common. */
export class ExtAuthzShared {
  readonly settings: ExtAuthzSettings
  readonly stats: ExtAuthzStats
  private readonly context: GrpcContext
  private readonly authorizer: Authorizer
  /** Those that routes have of their own. */
  private readonly others = new WeakMap<object, Authorizer>()

  constructor(settings: ExtAuthzSettings, stats: ExtAuthzStats, context: GrpcContext) {
    this.settings = settings
    this.stats = stats
    this.context = context
    this.authorizer = this.make(settings.service)
  }

  /** Whether requests like this one are asked about. */
  enabledFor(slot: FilterSlot): boolean {
    const { enabled, enabledMetadata } = this.settings
    if (enabled !== undefined && !enabled.hit(slot.runtime.randomU32())) return false
    return enabledMetadata === undefined || enabledMetadata.matches(slot.info.dynamicMetadata)
  }

  /** Who is asked: the filter's authorizer, or the route's. */
  authorizerFor(slot: FilterSlot): Authorizer {
    const service = (slot.perRoute()?.config as RouteSettings | undefined)?.service
    if (service === undefined) return this.authorizer
    let known = this.others.get(service)
    if (known === undefined) {
      known = this.make(service)
      this.others.set(service, known)
    }
    return known
  }

  /** Where the request is going, as far as that is known yet. */
  clusterOf(slot: FilterSlot): Cluster | undefined {
    const forward = slot.route()?.forward
    return forward && this.context.clusters.get(forward.clusterHeader?.first(slot.request) ?? forward.cluster)
  }

  /** How many headers a response may have. */
  responseRoom(): number {
    return this.settings.enforcesResponseLimits ? MOST_RESPONSE_HEADERS : Number.POSITIVE_INFINITY
  }

  private make(service: GrpcService | HttpServiceConfig): Authorizer {
    return service instanceof GrpcService
      ? new GrpcAuthorizer(service, this.settings.attributes, this.context)
      : new HttpAuthorizer(service, this.context)
  }
}

/** Headers that a response may have, the status among them. */
const MOST_RESPONSE_HEADERS = 100

/** Everything that the requests of a filter share. */
export function makeShared(config: ExtAuthz, settings: ExtAuthzSettings, context: HttpFilterContext): ExtAuthzShared {
  const stats = new ExtAuthzStats(context.proxy.stats, context.statPrefix, config.statPrefix)
  return new ExtAuthzShared(settings, stats, context.proxy)
}
