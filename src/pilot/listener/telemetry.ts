import { type Init, packed } from '../../xds/messages.ts'
import { lazy } from '../proto.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { HttpFilter } from './http-filters.ts'

/** Which side of a proxy a listener is on; a gateway has one only. */
export type ListenerClass = 'inbound' | 'outbound' | 'gateway'

const NAME = 'istio.stats'

const config = {
  // Inbound, a Host header that no service has would let clients make up metrics.
  inbound: lazy(() => packed('stats.PluginConfig', { disableHostHeaderFallback: true })),
  outbound: lazy(() => packed('stats.PluginConfig', {})),
  gateway: lazy(() => packed('stats.PluginConfig', { disableHostHeaderFallback: true })),
}

function wanted(push: PushContext): boolean {
  const names = push.mesh.defaultProviders.metrics ?? []
  return push.mesh.extensionProviders.some((provider) => provider.prometheus && names.includes(provider.name ?? ''))
}

/** Metrics of requests, where MeshConfig's default providers ask for them (pilot/pkg/model/telemetry.go HTTPFilters). */
export function httpMetrics(push: PushContext, side: ListenerClass): HttpFilter[] {
  return wanted(push) ? [{ name: NAME, configType: { case: 'typedConfig', value: config[side]() } }] : []
}

/** Metrics of connections. */
export function tcpMetrics(push: PushContext, side: ListenerClass): Init<'envoy.config.listener.v3.Filter'>[] {
  return wanted(push) ? [{ name: NAME, configType: { case: 'typedConfig', value: config[side]() } }] : []
}
