import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import { tcpClusterExchange } from '../metadata-exchange.ts'
import { BLACK_HOLE_CLUSTER, DYNAMIC_DNS_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER, PASSTHROUGH_CLUSTER } from '../names.ts'
import { duration, millis, socketAddress } from '../proto.ts'
import { isIpv6Only, type ProxyNode } from '../proxy.ts'
import { proxyConfigOf } from '../proxy-config.ts'
import type { PushContext } from '../scope/push-context.ts'
import { applyConnectionPool } from './connection-pool.ts'
import { CLUSTER_PROVIDED, type ClusterDraft, draft, finish, http1Options, ORIGINAL_DST, STATIC } from './draft.ts'
import { ALLOW_ANY_CACHE, ALLOW_ANY_MAX_HOSTS, dynamicDnsType } from './dynamic-dns.ts'

const FIVE_MINUTES = millis(300_000)

/** Takes what has no destination: no endpoints at all. */
export function blackHole(push: PushContext): Cluster {
  const target = draft(BLACK_HOLE_CLUSTER, STATIC)
  target.cluster.connectTimeout = duration(push.mesh.connectTimeout)
  return finish(target)
}

/** Sends to where the connection was going. */
export function passthrough(push: PushContext, proxy: ProxyNode): Cluster {
  return finish(passthroughDraft(PASSTHROUGH_CLUSTER, push, proxy))
}

/** The same for inbound traffic, from an address that redirection leaves alone. */
export function inboundPassthrough(push: PushContext, proxy: ProxyNode): Cluster {
  const target = passthroughDraft(INBOUND_PASSTHROUGH_CLUSTER, push, proxy)
  target.cluster.altStatName = `${PASSTHROUGH_CLUSTER};`
  target.cluster.filters = []
  target.cluster.upstreamBindConfig = inboundBind(proxy)
  return finish(target)
}

/** The source address of connections to the own app: 127.0.0.6, which redirection does not send back. */
export function inboundBind(proxy: ProxyNode) {
  return { sourceAddress: socketAddress(isIpv6Only(proxy) ? '::6' : '127.0.0.6', 0).address.value }
}

/** Resolves unknown hosts by their names, under ALLOW_ANY_DYNAMIC_DNS. */
export function dynamicDns(push: PushContext, proxy: ProxyNode): Cluster {
  const target = passthroughDraft(DYNAMIC_DNS_CLUSTER, push, proxy)
  target.type = undefined
  target.cluster.clusterDiscoveryType = {
    case: 'clusterType',
    value: dynamicDnsType(ALLOW_ANY_CACHE, { maxHosts: ALLOW_ANY_MAX_HOSTS, allowInsecure: true }),
  }
  return finish(target)
}

function passthroughDraft(name: string, push: PushContext, proxy: ProxyNode): ClusterDraft {
  const target = draft(name, ORIGINAL_DST)
  const preserveCase = proxyConfigOf(push, proxy).proxyHeaders?.preserveHttp1HeaderCase === true
  target.cluster.lbPolicy = CLUSTER_PROVIDED
  target.http = {
    commonHttpProtocolOptions: { idleTimeout: FIVE_MINUTES },
    upstreamProtocolOptions: {
      case: 'useDownstreamProtocolConfig',
      value: { httpProtocolOptions: http1Options(preserveCase), http2ProtocolOptions: {} },
    },
  }
  applyConnectionPool(target, push.mesh.defaultTrafficPolicy?.connectionPool ?? {}, { mesh: push.mesh, preserveCase })
  if (push.env.metadataExchange) target.cluster.filters = [tcpClusterExchange()]
  return target
}
