import type {
  FilterConfig,
  PerRouteConfig,
} from '#gen/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy_pb.js'
import type { Timer } from '../../runtime.ts'
import { ConfigError, type ProxyContext } from '../context.ts'
import { durationMs } from '../http/config.ts'
import type { FilterSlot } from '../http/filter-slot.ts'
import { type HeaderName, headerName, type RequestHead } from '../http/headers.ts'
import type { LocalReply } from '../http/local-replies.ts'
import type { Cluster, DynamicForward } from '../upstream/cluster.ts'
import { type DnsCache, type DnsEntry, splitAuthority } from '../upstream/discovery/dns-cache.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'

interface Settings {
  readonly proxy: ProxyContext
  /** Undefined: names become clusters. */
  readonly cache: DnsCache | undefined
  /** ms that a new cluster may take. */
  readonly initTimeout: number
}

/** What a route says: another host than the request's. */
interface HostRewrite {
  readonly literal: string
  readonly header: HeaderName | undefined
}

const reply = (body: string, details: string, flag?: 'DF'): LocalReply => ({ status: 503, body, details, flag })
const BUSY = reply('Dynamic forward proxy pending request overflow', 'dynamic_forward_proxy_pending_request_overflow')
const FULL = reply('DNS cache overflow', 'dns_cache_overflow')
const NO_HOST: LocalReply = { status: 400, body: 'Empty host header', details: 'empty_host_header', flag: undefined }
const TOO_MANY = reply('Sub cluster overflow', 'sub_cluster_overflow')
const TOO_SLOW = reply('Sub cluster warming timeout', 'sub_cluster_warming_timeout')

/** Makes the name that a request is for known before the request goes on. */
class DynamicForwardProxyFilter implements HttpFilter {
  private readonly settings: Settings
  private waiting: { cancel(): void } | undefined
  private timer: Timer | undefined

  constructor(settings: Settings) {
    this.settings = settings
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const forward = slot.route()?.forward
    const cluster = forward && this.settings.proxy.clusters.get(forward.clusterHeader?.first(head) ?? forward.cluster)
    const target = cluster?.dynamicForward
    if (cluster === undefined || target === undefined) return HeadersStatus.CONTINUE
    const rewrite = slot.perRoute()?.config as HostRewrite | undefined
    if (rewrite !== undefined) {
      const host = rewrite.header === undefined ? rewrite.literal : head.values(rewrite.header)[0]
      if (host !== undefined && host !== '') head.authority = host
    }
    const { name, port = target.defaultPort } = splitAuthority(head.authority)
    if (!target.cached) return this.open(target, name, port, cluster, slot)
    if (name === '') return refuse(NO_HOST, cluster, slot)
    return this.load(name, port, cluster, slot)
  }

  private load(name: string, port: number, cluster: Cluster, slot: FilterSlot): HeadersStatus {
    const { cache } = this.settings
    if (cache === undefined) return HeadersStatus.CONTINUE
    const found = cache.load(name, port, (entry) => {
      this.waiting = undefined
      if (entry.addresses.length === 0) refuse(unresolved(entry), cluster, slot)
      else slot.continueDecoding()
    })
    if (found === 'busy') return refuse(BUSY, cluster, slot)
    if (found === 'overflow') return refuse(FULL, cluster, slot)
    if ('cancel' in found) {
      this.waiting = found
      return HeadersStatus.STOP_ALL_AND_WATERMARK
    }
    return found.addresses.length === 0 ? refuse(unresolved(found), cluster, slot) : HeadersStatus.CONTINUE
  }

  private open(target: DynamicForward, name: string, port: number, cluster: Cluster, slot: FilterSlot): HeadersStatus {
    const found = target.open!(name, port, () => {
      this.stop()
      slot.continueDecoding()
    })
    if (found === 'overflow') return refuse(TOO_MANY, cluster, slot)
    if (found === 'ready') return HeadersStatus.CONTINUE
    this.waiting = found
    this.timer = slot.runtime.after(this.settings.initTimeout, () => {
      this.stop()
      refuse(TOO_SLOW, cluster, slot)
    })
    return HeadersStatus.STOP_ALL_AND_WATERMARK
  }

  onDestroy(): void {
    this.stop()
  }

  private stop(): void {
    this.timer?.cancel()
    this.timer = undefined
    this.waiting?.cancel()
    this.waiting = undefined
  }
}

function unresolved(entry: DnsEntry): LocalReply {
  return reply('DNS resolution failure', entry.details, 'DF')
}

function refuse(answer: LocalReply, cluster: Cluster, slot: FilterSlot): HeadersStatus {
  // The router will not see it, but logs name the cluster all the same.
  slot.info.clusterName = cluster.name
  slot.info.clusterObservabilityName = cluster.observabilityName
  slot.sendLocalReply(answer)
  return HeadersStatus.STOP
}

/** `envoy.filters.http.dynamic_forward_proxy` (source/extensions/filters/http/dynamic_forward_proxy/proxy_filter.cc). */
export const dynamicForwardProxyFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig',
  name: 'envoy.filters.http.dynamic_forward_proxy',
  build(config, context) {
    const c = config as FilterConfig
    const { proxy } = context
    const how = c.implementationSpecifier
    if (c.saveUpstreamAddress) proxy.notEnforced?.('dynamic_forward_proxy.save_upstream_address')
    if (how.case === undefined) throw new ConfigError(['implementation_specifier: is required'])
    if (proxy.dnsCaches === undefined) throw new ConfigError(['there are no DNS caches'])
    const settings: Settings = {
      proxy,
      cache: how.case === 'dnsCacheConfig' ? proxy.dnsCaches.get(how.value, 'dns_cache_config') : undefined,
      initTimeout: (how.case === 'subClusterConfig' ? durationMs(how.value.clusterInitTimeout) : undefined) ?? 5000,
    }
    return { create: () => new DynamicForwardProxyFilter(settings) }
  },
  perRouteType: 'envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig',
  buildPerRoute(config): HostRewrite {
    const how = (config as PerRouteConfig).hostRewriteSpecifier
    return {
      literal: how.case === 'hostRewriteLiteral' ? how.value : '',
      header: how.case === 'hostRewriteHeader' ? headerName(how.value.toLowerCase()) : undefined,
    }
  },
}
