import type { Message } from '@bufbuild/protobuf'
import type { Router } from '#gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import type { HttpFilterContext, HttpFilterFactory, HttpFilterKind } from '../../filters/filter.ts'
import { Problems } from '../config.ts'
import { localAddress } from '../hcm-config.ts'
import { timerWheel } from '../timer-wheel.ts'
import { HeaderReader } from './header-matcher.ts'
import { RouterFilter } from './router-filter.ts'
import type { RouterSettings } from './router-settings.ts'
import { RouterStats } from './router-stats.ts'

const KNOWN = new Set([
  'dynamicStats',
  'startChildSpan',
  'suppressEnvoyHeaders',
  'strictCheckHeaders',
  'respectExpectedRqTimeout',
  'suppressGrpcRequestFailureCodeStats',
])

/** The router as an entry of `http_filters`. */
export const routerFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.router.v3.Router',
  name: 'envoy.filters.http.router',
  build(message: Message, context: HttpFilterContext): HttpFilterFactory {
    const config = message as Router
    const problems = new Problems()
    problems.refuseUnknown(config, KNOWN, 'router')
    problems.throwIfAny()
    const { proxy } = context
    const settings: RouterSettings = {
      runtime: proxy.runtime,
      wheel: timerWheel(proxy.runtime),
      clusters: proxy.clusters,
      stats: new RouterStats(proxy.stats, context.statPrefix),
      suppressEnvoyHeaders: config.suppressEnvoyHeaders,
      respectExpectedTimeout: config.respectExpectedRqTimeout,
      strictHeaders: config.strictCheckHeaders.map((name) => new HeaderReader(name)),
      proxy100Continue: context.proxy100Continue,
      countShadow: () => proxy.stats.counter('http.async-client.rq_total').inc(),
      ownAddress: localAddress(proxy.node),
      zone: proxy.node.locality?.zone ?? '',
      dynamicStats: config.dynamicStats ?? true,
      suppressGrpcCodes: config.suppressGrpcRequestFailureCodeStats,
    }
    return { terminal: true, create: () => new RouterFilter(settings) }
  },
}
