import type { ProxyNode } from '../proxy.ts'
import { isIpv6Only } from '../proxy.ts'
import { memoized, type PushContext } from '../scope/push-context.ts'
import { inboundListeners } from './inbound.ts'
import { type BuiltListener, outboundListeners } from './outbound.ts'

/** All listeners of a sidecar (networking/core/listener.go BuildListeners). */
export function listenersOf(push: PushContext, proxy: ProxyNode): BuiltListener[] {
  const outbound = memoized(push.listenerMemo, `out\n${outboundKey(push, proxy)}`, () => outboundListeners(push, proxy))
  const inbound = memoized(push.listenerMemo, `in\n${commonKey(push, proxy)}\n${inboundKey(push, proxy)}`, () =>
    inboundListeners(push, proxy).map((listener) => ({ listener, routeNames: [] })),
  )
  return [...outbound, ...inbound]
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
