import type { ConnectionSettings, MeshProxyConfig } from '../../api/kinds/mesh-proxy-config.ts'
import type { Protocol } from '../../registry/protocol.ts'
import { type Init, packed } from '../../xds/messages.ts'
import { jwtFilter } from '../authn/jwt-filter.ts'
import { httpCustomAuthorization } from '../authz/custom.ts'
import { httpAuthorization } from '../authz/filters.ts'
import { http1Options } from '../cluster/draft.ts'
import { ALLOW_ANY_CACHE, ALLOW_ANY_MAX_HOSTS, dnsCache } from '../cluster/dynamic-dns.ts'
import { inboundHttpExchange, outboundHttpExchange, outboundHttpExchangeInMesh } from '../metadata-exchange.ts'
import { statPrefix } from '../names.ts'
import { ADS_WAITING, duration, lazy, ZERO } from '../proto.ts'
import type { ProxyNode } from '../proxy.ts'
import { connectionSettingsOf, FORWARD_CLIENT_CERT, proxyConfigOf, proxyHeaders } from '../proxy-config.ts'
import type { PushContext } from '../scope/push-context.ts'
import { accessLogs } from './access-log.ts'
import {
  alpnFilter,
  corsFilter,
  emptySessionFilter,
  faultFilter,
  grpcStatsFilter,
  grpcWebFilter,
  type HttpFilter,
  routerFilter,
} from './http-filters.ts'
import { httpMetrics, type ListenerClass } from './telemetry.ts'
import { tracing } from './tracing.ts'

type Filter = Init<'envoy.config.listener.v3.Filter'>
type Hcm = Init<'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'>

/** How one connection manager differs from others. */
export interface HcmOptions {
  side: ListenerClass
  statPrefix: string
  /** Routes by name over RDS, or inline. */
  routes: { rds: string } | { inline: Init<'envoy.config.route.v3.RouteConfiguration'> }
  protocol: Protocol
  /** Takes absolute request targets: an HTTP proxy. */
  absoluteUrls?: boolean
  /** The prefix of statistics as it is, in the place of `statPrefix`. */
  wholeStatPrefix?: string
  /** Name of the DNS cache for hosts that are resolved at the time of the request. */
  dynamicDnsCache?: string
}

const KEEP_UNCHANGED = 1
const UNESCAPE_AND_FORWARD = 4

const WEBSOCKET = [{ upgradeType: 'websocket' }]
const WEBSOCKET_AND_CONNECT = [...WEBSOCKET, { upgradeType: 'CONNECT' }]

const REQUEST_ID = lazy(() => ({
  typedConfig: packed('envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig', {
    useRequestIdForTraceSampling: true,
  }),
}))

/** The HTTP connection manager (networking/core/listener_builder.go buildHTTPConnectionManager). */
export function connectionManager(push: PushContext, proxy: ProxyNode, options: HcmOptions): Filter {
  const config = proxyConfigOf(push, proxy)
  const inbound = options.side === 'inbound'
  const headers = proxyHeaders(config, options.side === 'outbound')
  const hcm: Hcm = {
    codecType: 0,
    statPrefix: options.wholeStatPrefix ?? statPrefix(options.statPrefix),
    routeSpecifier:
      'rds' in options.routes
        ? { case: 'rds', value: { configSource: ADS_WAITING, routeConfigName: options.routes.rds } }
        : { case: 'routeConfig', value: options.routes.inline },
    httpFilters: httpFilters(push, proxy, options),
    tracing: tracing(push, proxy),
    accessLog: accessLogs(push, 'http'),
    useRemoteAddress: usesRemoteAddress(push, options),
    upgradeConfigs: options.absoluteUrls ? WEBSOCKET_AND_CONNECT : WEBSOCKET,
    streamIdleTimeout: ZERO,
    normalizePath: true,
    pathWithEscapedSlashesAction: KEEP_UNCHANGED,
    requestIdExtension: REQUEST_ID(),
    serverName: headers.serverName,
    serverHeaderTransformation: headers.serverTransformation,
    generateRequestId: headers.requestId ? undefined : false,
    appendXForwardedPort: headers.xForwardedPort,
    proxy100Continue: push.env.proxy100Continue,
  }
  if (inbound) {
    const details = config.proxyHeaders?.setCurrentClientCertDetails
    hcm.forwardClientCertDetails = headers.forwardClientCert
    hcm.setCurrentClientCertDetails = {
      subject: details?.subject !== false,
      uri: details?.uri !== false,
      dns: details?.dns !== false,
      cert: details?.cert === true,
      chain: details?.chain === true,
    }
    if (['HTTP2', 'GRPC', 'GRPC-Web'].includes(options.protocol)) hcm.http2ProtocolOptions = {}
  }
  if (options.side === 'gateway') applyTopology(hcm, config.gatewayTopology)
  applyNormalization(hcm, push.mesh.pathNormalization?.normalization)
  applyHttp1(hcm, push, proxy, options, config.proxyHeaders?.preserveHttp1HeaderCase === true)
  if (proxy.idleTimeout) hcm.commonHttpProtocolOptions = { idleTimeout: duration(proxy.idleTimeout) }
  const settings = connectionSettingsOf(push, proxy)
  if (settings) applySettings(hcm, settings)
  return {
    name: 'envoy.filters.network.http_connection_manager',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', hcm),
    },
  }
}

function httpFilters(push: PushContext, proxy: ProxyNode, options: HcmOptions): HttpFilter[] {
  const { env } = push
  const inbound = options.side === 'inbound'
  const headers = proxyHeaders(proxyConfigOf(push, proxy), options.side === 'outbound')
  const out: HttpFilter[] = []
  if (env.metadataExchange) {
    const outbound =
      headers.skipExternalExchange && !options.absoluteUrls ? outboundHttpExchangeInMesh : outboundHttpExchange
    out.push(inbound ? inboundHttpExchange() : outbound())
  }
  if (options.side !== 'outbound') {
    const jwt = jwtFilter(push, proxy)
    out.push(...httpCustomAuthorization(push, proxy), ...(jwt ? [jwt] : []), ...httpAuthorization(push, proxy))
  }
  if (options.protocol === 'GRPC-Web') out.push(grpcWebFilter())
  out.push(grpcStatsFilter())
  if (env.alpnFilter && !inbound) out.push(alpnFilter())
  out.push(faultFilter(), corsFilter(), ...httpMetrics(push, options.side))
  if (env.persistentSessions && !inbound) out.push(emptySessionFilter())
  if (options.dynamicDnsCache) out.push(dynamicForwardProxy(options.dynamicDnsCache))
  if (options.side === 'outbound' && push.scopeOf(proxy).outbound.mode === 'ALLOW_ANY_DYNAMIC_DNS') {
    out.push(dynamicForwardProxy(ALLOW_ANY_CACHE, ALLOW_ANY_MAX_HOSTS))
  }
  out.push(routerFilter(headers.suppressDebugHeaders))
  return out
}

/** A gateway is where requests come into the mesh: the address of the connection counts there. */
function usesRemoteAddress(push: PushContext, { side, absoluteUrls }: HcmOptions): boolean {
  return side === 'gateway' || (side === 'outbound' && !absoluteUrls && push.env.useRemoteAddress)
}

/** What stands before a gateway, and what it tells of its clients' certificates (buildGatewayConnectionManager). */
function applyTopology(hcm: Hcm, topology: MeshProxyConfig['gatewayTopology']): void {
  hcm.xffNumTrustedHops = topology?.numTrustedProxies ?? 0
  const stated = topology?.forwardClientCertDetails ?? 'UNDEFINED'
  const forward = FORWARD_CLIENT_CERT[stated === 'UNDEFINED' ? 'SANITIZE_SET' : stated]
  hcm.forwardClientCertDetails = forward
  if (forward === FORWARD_CLIENT_CERT.APPEND_FORWARD || forward === FORWARD_CLIENT_CERT.SANITIZE_SET) {
    hcm.setCurrentClientCertDetails = { subject: true, cert: true, dns: true, uri: true }
  }
}

function dynamicForwardProxy(cache: string, maxHosts?: number): HttpFilter {
  return {
    name: 'envoy.filters.http.dynamic_forward_proxy',
    configType: {
      case: 'typedConfig',
      value: packed('envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig', {
        implementationSpecifier: { case: 'dnsCacheConfig', value: dnsCache(cache, maxHosts) },
      }),
    },
  }
}

function applyNormalization(hcm: Hcm, normalization: string | undefined): void {
  if (normalization === 'NONE') hcm.normalizePath = false
  if (normalization === 'MERGE_SLASHES' || normalization === 'DECODE_AND_MERGE_SLASHES') hcm.mergeSlashes = true
  if (normalization === 'DECODE_AND_MERGE_SLASHES') hcm.pathWithEscapedSlashesAction = UNESCAPE_AND_FORWARD
}

function applyHttp1(hcm: Hcm, push: PushContext, proxy: ProxyNode, options: HcmOptions, preserveCase: boolean): void {
  const http10 = push.env.http10 || proxy.http10
  if (!http10 && !preserveCase && !options.absoluteUrls && options.side !== 'gateway') return
  hcm.httpProtocolOptions = {
    ...http1Options(preserveCase),
    ...(http10 ? { acceptHttp10: true } : {}),
    ...(options.absoluteUrls ? { allowAbsoluteUrl: true } : {}),
  }
}

const UNDERSCORES: Record<string, 0 | 1 | 2> = {
  HEADERS_WITH_UNDERSCORES_ALLOW: 0,
  HEADERS_WITH_UNDERSCORES_REJECT_REQUEST: 1,
  HEADERS_WITH_UNDERSCORES_DROP_HEADER: 2,
}

const ESCAPED_SLASHES: Record<string, 1 | 2 | 3 | 4> = {
  KEEP_UNCHANGED: 1,
  REJECT_REQUEST: 2,
  UNESCAPE_AND_REDIRECT: 3,
  UNESCAPE_AND_FORWARD: 4,
}

/** ProxyConfig's connectionSettings (networking/core/connection_settings.go). */
function applySettings(hcm: Hcm, settings: ConnectionSettings): void {
  const common: Init<'envoy.config.core.v3.HttpProtocolOptions'> = { ...hcm.commonHttpProtocolOptions }
  if (settings.httpIdleTimeout) common.idleTimeout = duration(settings.httpIdleTimeout)
  if (settings.httpMaxConnectionDuration) common.maxConnectionDuration = duration(settings.httpMaxConnectionDuration)
  if (settings.httpMaxStreamDuration) common.maxStreamDuration = duration(settings.httpMaxStreamDuration)
  const underscores = UNDERSCORES[settings.httpHeadersWithUnderscoresAction ?? '']
  if (underscores !== undefined) common.headersWithUnderscoresAction = underscores
  if (Object.keys(common).length) hcm.commonHttpProtocolOptions = common
  if (settings.httpStreamIdleTimeout) hcm.streamIdleTimeout = duration(settings.httpStreamIdleTimeout)
  if (settings.httpRequestTimeout) hcm.requestTimeout = duration(settings.httpRequestTimeout)
  if (settings.httpRequestHeadersTimeout) hcm.requestHeadersTimeout = duration(settings.httpRequestHeadersTimeout)
  if (settings.httpDrainTimeout) hcm.drainTimeout = duration(settings.httpDrainTimeout)
  const http2 = {
    maxConcurrentStreams: natural(settings.httpMaxConcurrentStreams),
    initialStreamWindowSize: natural(settings.http2InitialStreamWindowSize),
    initialConnectionWindowSize: natural(settings.http2InitialConnectionWindowSize),
  }
  if (Object.values(http2).some((value) => value !== undefined)) hcm.http2ProtocolOptions = http2
  if (settings.httpMergeSlashes !== undefined) hcm.mergeSlashes = settings.httpMergeSlashes
  const slashes = ESCAPED_SLASHES[settings.httpPathWithEscapedSlashesAction ?? '']
  if (slashes) hcm.pathWithEscapedSlashesAction = slashes
}

const natural = (n: number | undefined): number | undefined => (n !== undefined && n >= 0 ? n : undefined)
