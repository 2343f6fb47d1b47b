import os from 'node:os'
import type { Node } from '#gen/envoy/config/core/v3/base_pb.js'
import type { HttpConnectionManager } from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import type { Runtime } from '../../runtime.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import type { ProxyContext } from '../context.ts'
import { preservedCase } from '../http1/preserve-case.ts'
import type { HeaderCase } from '../http1/settings.ts'
import { compileHttp2Settings, type Http2Settings } from '../http2/settings.ts'
import { IpRanges } from './addresses.ts'
import { durationMs, type Problems } from './config.ts'
import { DateHeader } from './date-header.ts'
import { compileEarlyMutation } from './early-mutation.ts'
import { compileIpDetector, type IpDetector } from './original-ip.ts'
import type { PathSettings } from './path-normalization.ts'
import type { MutationList } from './router/mutation-list.ts'
import { compileStringMatcher, type StringMatcher } from './router/string-matcher.ts'
import type { XfccDetails, XfccMode } from './xfcc.ts'

/** The settings of an HttpConnectionManager, compiled. Times in ms; 0 is off. */
export interface HcmConfig {
  readonly runtime: Runtime
  readonly date: DateHeader
  readonly statPrefix: string
  readonly codec: 'auto' | 'http1' | 'http2'
  readonly serverName: string
  readonly serverHeader: 'overwrite' | 'append-if-absent' | 'pass-through'
  readonly schemeToOverwrite: string
  readonly useRemoteAddress: boolean
  readonly xffTrustedHops: number
  readonly skipXffAppend: boolean
  readonly appendXForwardedPort: boolean
  readonly internalAddresses: IpRanges
  /** Who tells where requests come from; empty: x-forwarded-for. */
  readonly ipDetectors: readonly IpDetector[]
  /** What happens to request headers first of all. */
  readonly earlyMutations: readonly MutationList[]
  readonly addUserAgent: boolean
  readonly via: string
  readonly generateRequestId: boolean
  readonly preserveExternalRequestId: boolean
  readonly alwaysSetRequestId: boolean
  readonly xfccMode: XfccMode
  readonly xfccDetails: XfccDetails
  readonly paths: PathSettings
  readonly stripPort: 'no' | 'matching' | 'any'
  readonly stripTrailingDot: boolean
  /** Upgrade type in lower case to enabled. */
  readonly upgrades: ReadonlyMap<string, boolean>
  readonly proxy100Continue: boolean
  /** Set when `tracing` is there: decorators then name operations. */
  readonly tracing: boolean
  readonly idleTimeout: number
  readonly maxConnectionDuration: number
  readonly maxStreamDuration: number
  readonly maxRequestsPerConnection: number
  readonly streamIdleTimeout: number
  readonly requestTimeout: number
  readonly requestHeadersTimeout: number
  readonly drainTimeout: number
  readonly delayedCloseTimeout: number
  readonly maxRequestHeadersKb: number
  readonly maxHeadersCount: number
  readonly underscores: 'allow' | 'reject' | 'drop'
  readonly allowAbsoluteUrl: boolean
  readonly acceptHttp10: boolean
  readonly defaultHostForHttp10: string
  readonly enableTrailers: boolean
  readonly allowChunkedLength: boolean
  readonly properCase: boolean
  /** Header names go upstream as the client spelt them, others as this says; undefined: they do not. */
  readonly preserveCase: HeaderCase | undefined
  /** Protocols whose offers are taken out of HTTP/1.1 requests (ignore_http_11_upgrade). */
  readonly ignoredUpgrades: readonly StringMatcher[]
  /** Write the access log when a request starts, too. */
  readonly logAtStart: boolean
  /** This machine's address in `x-forwarded-for`, where the peer is on loopback. */
  readonly localAddress: string
  /** A local 400 leaves an HTTP/1 connection open (stream_error_on_invalid_http_message). */
  readonly keepsOpenOnInvalid: boolean
  readonly http2: Http2Settings
  readonly nodeId: string
  readonly nodeCluster: string
}

const KNOWN = new Set([
  'codecType',
  'statPrefix',
  'rds',
  'routeConfig',
  'scopedRoutes',
  'httpFilters',
  'addUserAgent',
  'tracing',
  'commonHttpProtocolOptions',
  'httpProtocolOptions',
  'http2ProtocolOptions',
  'serverName',
  'serverHeaderTransformation',
  'schemeHeaderTransformation',
  'maxRequestHeadersKb',
  'streamIdleTimeout',
  'requestTimeout',
  'requestHeadersTimeout',
  'drainTimeout',
  'delayedCloseTimeout',
  'accessLog',
  'flushAccessLogOnNewRequest',
  'accessLogOptions',
  'useRemoteAddress',
  'xffNumTrustedHops',
  'internalAddressConfig',
  'skipXffAppend',
  'via',
  'generateRequestId',
  'preserveExternalRequestId',
  'alwaysSetRequestIdInResponse',
  'forwardClientCertDetails',
  'setCurrentClientCertDetails',
  'proxy100Continue',
  'upgradeConfigs',
  'normalizePath',
  'mergeSlashes',
  'pathWithEscapedSlashesAction',
  'requestIdExtension',
  'localReplyConfig',
  'stripMatchingHostPort',
  'stripAnyHostPort',
  'streamErrorOnInvalidHttpMessage',
  'stripTrailingHostDot',
  'appendXForwardedPort',
  'appendLocalOverload',
  'originalIpDetectionExtensions',
  'earlyHeaderMutationExtensions',
])
const HTTP1_KNOWN = new Set([
  'allowAbsoluteUrl',
  'acceptHttp10',
  'defaultHostForHttp10',
  'headerKeyFormat',
  'enableTrailers',
  'allowChunkedLength',
  'overrideStreamErrorOnInvalidHttpMessage',
  'useBalsaParser',
  'ignoreHttp11Upgrade',
])

const XFCC: readonly XfccMode[] = ['sanitize', 'forward-only', 'append-forward', 'sanitize-set', 'always-forward-only']
const HOUR = 3_600_000

/**
 * Compiles everything of the message but routes, filters and loggers, with Envoy's defaults
 * (source/extensions/filters/network/http_connection_manager/config.cc). Errors go to `problems`.
 */
export function compileHcmConfig(hcm: HttpConnectionManager, context: ProxyContext, problems: Problems): HcmConfig {
  const path = 'http_connection_manager'
  problems.refuseUnknown(hcm, KNOWN, path)
  if (hcm.statPrefix === '') problems.add(`${path}.stat_prefix`, 'value length must be at least 1 characters')
  if (hcm.codecType === 3) problems.add(`${path}.codec_type`, 'HTTP3 is not supported')
  if (hcm.tracing?.provider) context.notEnforced?.(`${path}.tracing.provider`)
  if (hcm.requestIdExtension?.typedConfig) {
    const type = configTypeName(hcm.requestIdExtension.typedConfig)
    if (type !== 'envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig') {
      problems.add(`${path}.request_id_extension`, `${type} is not supported`)
    } else {
      for (const p of resolveTypedConfig(hcm.requestIdExtension.typedConfig).problems) {
        problems.add(`${path}.request_id_extension`, p.message)
      }
    }
  }
  const scheme = hcm.schemeHeaderTransformation
  if (scheme?.matchUpstream) problems.add(`${path}.scheme_header_transformation.match_upstream`, 'not supported')
  if (hcm.internalAddressConfig?.unixSockets) {
    problems.add(`${path}.internal_address_config.unix_sockets`, 'not supported')
  }
  const detections = hcm.originalIpDetectionExtensions
  if (detections.length > 0 && (hcm.useRemoteAddress || hcm.xffNumTrustedHops > 0)) {
    const other = hcm.useRemoteAddress ? 'use_remote_address' : 'xff_num_trusted_hops'
    problems.add(path, `Original IP detection extensions and ${other} may not be mixed`)
  }
  const http1 = hcm.httpProtocolOptions
  if (http1) problems.refuseUnknown(http1, HTTP1_KNOWN, `${path}.http_protocol_options`)
  const format = http1?.headerKeyFormat?.headerFormat.case
  const upgrades = new Map<string, boolean>()
  for (const upgrade of hcm.upgradeConfigs) {
    const type = upgrade.upgradeType.toLowerCase()
    if (upgrades.has(type))
      problems.add(
        `${path}.upgrade_configs`,
        `Error: multiple upgrade configs with the same name: '${upgrade.upgradeType}'`,
      )
    if (upgrade.filters.length > 0) problems.add(`${path}.upgrade_configs.filters`, 'not supported')
    upgrades.set(type, upgrade.enabled ?? true)
  }
  const common = hcm.commonHttpProtocolOptions
  const details = hcm.setCurrentClientCertDetails
  const escaped = hcm.pathWithEscapedSlashesAction
  const options = hcm.accessLogOptions
  if (options?.accessLogFlushInterval) context.notEnforced?.(`${path}.access_log_options.access_log_flush_interval`)
  return {
    runtime: context.runtime,
    date: new DateHeader(context.runtime),
    statPrefix: `http.${hcm.statPrefix}.`,
    codec: hcm.codecType === 1 ? 'http1' : hcm.codecType === 2 ? 'http2' : 'auto',
    serverName: hcm.serverName === '' ? 'envoy' : hcm.serverName,
    serverHeader:
      (['overwrite', 'append-if-absent', 'pass-through'] as const)[hcm.serverHeaderTransformation] ?? 'overwrite',
    schemeToOverwrite: scheme?.transformation.case === 'schemeToOverwrite' ? scheme.transformation.value : '',
    useRemoteAddress: hcm.useRemoteAddress ?? false,
    xffTrustedHops: hcm.xffNumTrustedHops,
    skipXffAppend: hcm.skipXffAppend,
    appendXForwardedPort: hcm.appendXForwardedPort,
    internalAddresses:
      problems.collect(`${path}.internal_address_config`, () =>
        IpRanges.of(hcm.internalAddressConfig?.cidrRanges ?? []),
      ) ?? new IpRanges([]),
    ipDetectors: detections.flatMap((d) => problems.collect(path, () => compileIpDetector(d)) ?? []),
    earlyMutations: hcm.earlyHeaderMutationExtensions.flatMap(
      (m) => problems.collect(path, () => compileEarlyMutation(m, context.runtime)) ?? [],
    ),
    addUserAgent: hcm.addUserAgent ?? false,
    via: hcm.via,
    generateRequestId: hcm.generateRequestId ?? true,
    preserveExternalRequestId: hcm.preserveExternalRequestId,
    alwaysSetRequestId: hcm.alwaysSetRequestIdInResponse,
    xfccMode: XFCC[hcm.forwardClientCertDetails] ?? 'sanitize',
    xfccDetails: {
      cert: details?.cert ?? false,
      chain: details?.chain ?? false,
      subject: details?.subject ?? false,
      uri: details?.uri ?? false,
      dns: details?.dns ?? false,
    },
    paths: {
      normalize: hcm.normalizePath ?? false,
      mergeSlashes: hcm.mergeSlashes,
      escapedSlashes: escaped === 2 ? 'reject' : escaped === 3 ? 'redirect' : escaped === 4 ? 'forward' : 'keep',
      stripFragment: context.runtimeFeatures?.get('http_reject_path_with_fragment') === false,
    },
    stripPort:
      hcm.stripPortMode.case === 'stripAnyHostPort' && hcm.stripPortMode.value
        ? 'any'
        : hcm.stripMatchingHostPort
          ? 'matching'
          : 'no',
    stripTrailingDot: hcm.stripTrailingHostDot,
    upgrades,
    proxy100Continue: hcm.proxy100Continue,
    tracing: hcm.tracing !== undefined,
    idleTimeout: durationMs(common?.idleTimeout) ?? HOUR,
    maxConnectionDuration: durationMs(common?.maxConnectionDuration) ?? 0,
    maxStreamDuration: durationMs(common?.maxStreamDuration) ?? 0,
    maxRequestsPerConnection: common?.maxRequestsPerConnection ?? 0,
    streamIdleTimeout: durationMs(hcm.streamIdleTimeout) ?? 300_000,
    requestTimeout: durationMs(hcm.requestTimeout) ?? 0,
    requestHeadersTimeout: durationMs(hcm.requestHeadersTimeout) ?? 0,
    drainTimeout: durationMs(hcm.drainTimeout) ?? 5000,
    delayedCloseTimeout: durationMs(hcm.delayedCloseTimeout) ?? 1000,
    maxRequestHeadersKb: hcm.maxRequestHeadersKb ?? 60,
    maxHeadersCount: common?.maxHeadersCount ?? 100,
    underscores: (['allow', 'reject', 'drop'] as const)[common?.headersWithUnderscoresAction ?? 0] ?? 'allow',
    allowAbsoluteUrl: http1?.allowAbsoluteUrl ?? true,
    acceptHttp10: http1?.acceptHttp10 ?? false,
    defaultHostForHttp10: http1?.defaultHostForHttp10 ?? '',
    enableTrailers: http1?.enableTrailers ?? false,
    allowChunkedLength: http1?.allowChunkedLength ?? false,
    ignoredUpgrades: (http1?.ignoreHttp11Upgrade ?? []).flatMap(
      (m, i) =>
        problems.collect(`${path}.http_protocol_options.ignore_http_11_upgrade[${i}]`, () => compileStringMatcher(m)) ??
        [],
    ),
    properCase: format === 'properCaseWords',
    preserveCase: problems.collect(`${path}.http_protocol_options`, () => preservedCase(http1)),
    logAtStart: hcm.flushAccessLogOnNewRequest || (options?.flushAccessLogOnNewRequest ?? false),
    localAddress: localAddress(context.node),
    keepsOpenOnInvalid: http1?.overrideStreamErrorOnInvalidHttpMessage ?? hcm.streamErrorOnInvalidHttpMessage ?? false,
    http2: compileHttp2Settings(
      hcm.http2ProtocolOptions,
      problems,
      `${path}.http2_protocol_options`,
      hcm.streamErrorOnInvalidHttpMessage ?? false,
    ),
    nodeId: context.node.id,
    nodeCluster: context.node.cluster,
  }
}

/** The address that this proxy shows to others: the instance's own (as istiod's agents tell it), else the first interface's. */
export function localAddress(node: Node): string {
  const stated = (node.metadata as Record<string, unknown> | undefined)?.INSTANCE_IPS
  if (typeof stated === 'string' && stated !== '') return stated.split(',')[0]!
  for (const list of Object.values(os.networkInterfaces())) {
    for (const address of list ?? []) if (!address.internal && address.family === 'IPv4') return address.address
  }
  return '127.0.0.1'
}
