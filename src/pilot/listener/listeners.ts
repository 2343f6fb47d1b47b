import { withPatches } from '../envoyfilter/apply.ts'
import type { PatchContext } from '../envoyfilter/patch.ts'
import { gatewayListeners } from '../gateway/listeners.ts'
import type { ProxyNode } from '../proxy.ts'
import { isIpv6Only } from '../proxy.ts'
import { memoized, type PushContext } from '../scope/push-context.ts'
import { inboundListeners } from './inbound.ts'
import { type BuiltListener, outboundListeners } from './outbound.ts'

/** All listeners of a sidecar, or of a gateway (networking/core/listener.go BuildListeners). */
export function listenersOf(push: PushContext, proxy: ProxyNode): BuiltListener[] {
  if (proxy.type === 'router') {
    const key = `gateway\n${commonKey(push, proxy)}\n${inboundKey(push, proxy)}`
    const built = memoized(push.listenerMemo, key, () => gatewayListeners(push, proxy))
    return push.envoyFilters.forProxy(proxy) ? patched(push, proxy, 'GATEWAY', built) : built
  }
  const outbound = memoized(push.listenerMemo, `out\n${outboundKey(push, proxy)}`, () => outboundListeners(push, proxy))
  const inbound = memoized(push.listenerMemo, `in\n${commonKey(push, proxy)}\n${inboundKey(push, proxy)}`, () =>
    inboundListeners(push, proxy).map((listener) => ({ listener, routeNames: [] })),
  )
  if (!push.envoyFilters.forProxy(proxy)) return [...outbound, ...inbound]
  return [...patched(push, proxy, 'SIDECAR_OUTBOUND', outbound), ...patched(push, proxy, 'SIDECAR_INBOUND', inbound)]
}

/** Listeners of one side after the EnvoyFilters, with the routes that each of them asked for before. */
function patched(
  push: PushContext,
  proxy: ProxyNode,
  context: PatchContext,
  built: readonly BuiltListener[],
): BuiltListener[] {
  const routeNames = new Map(built.map((one) => [one.listener.name, one.routeNames]))
  const listeners = withPatches(
    push,
    proxy,
    context,
    built.map(({ listener }) => listener),
  )
  return listeners.map((listener) => ({ listener, routeNames: routeNames.get(listener.name) ?? [] }))
}

/** What of a proxy goes into its listeners, besides its services. */
function commonKey(push: PushContext, proxy: ProxyNode): string {
  const tags = ['service.istio.io/canonical-name', 'service.istio.io/canonical-revision'].map(
    (key) => proxy.labels[key],
  )
  return JSON.stringify([
    push.scopeOf(proxy).id,
    proxy.namespace,
    proxy.dnsDomain,
    proxy.cluster,
    proxy.interception,
    proxy.http10,
    proxy.idleTimeout,
    proxy.proxyConfig,
    proxy.statusPort,
    proxy.prometheusPort,
    proxy.unprivileged,
    isIpv6Only(proxy),
    proxy.meshId,
    proxy.clusterId,
    tags,
  ])
}

function outboundKey(push: PushContext, proxy: ProxyNode): string {
  const labels = push.virtualServices.usesLabels || push.destinationRules.usesLabels
  // A listener per endpoint of a headless service leaves out the proxy's own.
  const ownIp = push.scopeOf(proxy).services.some((service) => service.resolution === 'PASSTHROUGH')
  return [
    commonKey(push, proxy),
    proxy.dnsCapture,
    proxy.httpProxyPort,
    labels ? JSON.stringify(proxy.labels) : '',
    ownIp ? proxy.ips[0] : '',
  ].join('\n')
}

function inboundKey(push: PushContext, proxy: ProxyNode): string {
  const targets = proxy.targets.map(({ service, port, targetPort }) => [
    service.namespace,
    service.hostname,
    port.port,
    targetPort,
  ])
  // Only a Sidecar's ingress listeners bind the workload's own address.
  const ip = push.scopeOf(proxy).sidecar?.ingress ? proxy.ips[0] : ''
  return JSON.stringify([targets, proxy.labels, ip])
}
