import type { Message } from '@bufbuild/protobuf'
import type {
  ListenerFilter as ListenerFilterProto,
  ListenerFilterChainMatchPredicate as Predicate,
} from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import type { ProxyProtocol } from '#gen/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.js'
import type { TlsInspector } from '#gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import { configTypeName } from '../../xds/typed-config.ts'
import type { ProxyContext } from '../context.ts'
import { Discovered, whenAllReady } from '../ecds/discovered.ts'
import type { OpenedConfig } from '../ecds/source.ts'
import { inspectHttp } from './http-inspector.ts'
import type { Incoming } from './incoming.ts'
import { listenerLocalRateLimit } from './local-rate-limit.ts'
import { readProxyHeader } from './proxy-protocol.ts'
import { inspectTls, MAX_CLIENT_HELLO_BYTES } from './tls-inspector.ts'
import { openTypedConfig } from './typed-filter.ts'

/** What a filter answers to the bytes so far: it waits, is done, or ends the connection. */
export type FilterStep = 'more' | 'done' | 'close'

/** A compiled listener filter. */
export interface ListenerFilter {
  /** True when the filter does not apply to this connection. */
  disabled(incoming: Incoming): boolean
  /** 'more': the filter wants to see bytes. */
  onAccept(incoming: Incoming): FilterStep
  /** All bytes not yet consumed; called again when there are more. */
  onData(incoming: Incoming, bytes: Buffer): FilterStep
}

type Factory = (config: Message, context: ProxyContext) => Omit<ListenerFilter, 'disabled'>

const PACKAGE = 'envoy.extensions.filters.listener.'
const ORIGINAL_DST = `${PACKAGE}original_dst.v3.OriginalDst`

const factories: Readonly<Record<string, Factory>> = {
  [ORIGINAL_DST]: () => originalDst,
  [`${PACKAGE}original_src.v3.OriginalSrc`]: originalSrc,
  [`${PACKAGE}tls_inspector.v3.TlsInspector`]: tlsInspector,
  [`${PACKAGE}http_inspector.v3.HttpInspector`]: httpInspector,
  [`${PACKAGE}local_ratelimit.v3.LocalRateLimit`]: listenerLocalRateLimit,
  [`${PACKAGE}proxy_protocol.v3.ProxyProtocol`]: proxyProtocol,
}

/** The filters of a listener. */
export interface ListenerFilters {
  /** Those in force; undefined: the config of one is missing, and there are no connections. */
  readonly current: readonly ListenerFilter[] | undefined
  /** Calls `ready` once the configs that come from elsewhere have come, or were waited for long enough. */
  whenReady(ready: () => void): void
  close(): void
}

/** Compiles a listener's filters, `use_original_dst` included. Throws with Envoy's words for an unknown one. */
export function compileListenerFilters(
  protos: readonly ListenerFilterProto[],
  useOriginalDst: boolean,
  context: ProxyContext,
): ListenerFilters {
  const restored: ListenerFilter[] = []
  const restores = protos.some(
    ({ configType }) => configType.case === 'typedConfig' && configTypeName(configType.value) === ORIGINAL_DST,
  )
  if (useOriginalDst && !restores) restored.push({ disabled: never, ...originalDst })
  if (protos.some(({ configType }) => configType.case === 'configDiscovery'))
    return discoveredListenerFilters(protos, restored, context)
  const current = [...protos.map((proto) => compileFilter(proto, openTypedConfig(proto), context)), ...restored]
  return { current, whenReady: (ready) => ready(), close: () => {} }
}

function compileFilter(
  { name, filterDisabled }: ListenerFilterProto,
  { typeName, message }: OpenedConfig,
  context: ProxyContext,
): ListenerFilter {
  const factory = factories[typeName]
  if (!factory) {
    throw new Error(`Didn't find a registered implementation for '${name}' with type URL: '${typeName}'`)
  }
  const matches = filterDisabled && compilePredicate(filterDisabled)
  return { disabled: matches ?? never, ...factory(message, context) }
}

/** The same when some of them take their config from ECDS. */
function discoveredListenerFilters(
  protos: readonly ListenerFilterProto[],
  restored: readonly ListenerFilter[],
  context: ProxyContext,
): ListenerFilters {
  const parts: ({ readonly current: ListenerFilter } | Discovered<ListenerFilter>)[] = []
  const discovered = (): Discovered<ListenerFilter>[] => parts.filter((part) => part instanceof Discovered)
  let current: readonly ListenerFilter[] | undefined
  const gather = (): void => {
    const all = parts.map((part) => part.current)
    current = all.every((filter) => filter !== undefined) ? [...all, ...restored] : undefined
  }
  const close = (): void => {
    for (const part of discovered()) part.close()
  }
  try {
    for (const proto of protos) {
      const { name, configType } = proto
      if (configType.case !== 'configDiscovery') {
        parts.push({ current: compileFilter(proto, openTypedConfig(proto), context) })
        continue
      }
      parts.push(
        new Discovered<ListenerFilter>({
          kind: 'tcp_listener_filter',
          name,
          config: configType.value,
          source: context.extensions,
          known: (typeName) => typeName in factories,
          build: (config) => compileFilter(proto, config, context),
          changed: gather,
          close: () => {},
        }),
      )
    }
  } catch (error) {
    close()
    throw error
  }
  gather()
  return {
    get current() {
      return current
    },
    whenReady: (ready) => whenAllReady(discovered(), ready),
    close,
  }
}

const never = (): boolean => false

/** A listener filter chain match predicate, as `filter_disabled` uses it (source/common/network/filter_matcher.cc). */
function compilePredicate(predicate: Predicate): (incoming: Incoming) => boolean {
  const { rule } = predicate
  switch (rule.case) {
    case 'orMatch': {
      const rules = rule.value.rules.map(compilePredicate)
      return (incoming) => rules.some((r) => r(incoming))
    }
    case 'andMatch': {
      const rules = rule.value.rules.map(compilePredicate)
      return (incoming) => rules.every((r) => r(incoming))
    }
    case 'notMatch': {
      const inner = compilePredicate(rule.value)
      return (incoming) => !inner(incoming)
    }
    case 'destinationPortRange': {
      const { start, end } = rule.value
      return (incoming) => incoming.local.port >= start && incoming.local.port < end
    }
    case 'anyMatch':
      return () => true
    default:
      return never
  }
}

const originalDst: Omit<ListenerFilter, 'disabled'> = {
  onAccept(incoming) {
    if (incoming.originalDestination) incoming.restoreLocal(incoming.originalDestination)
    return 'done'
  },
  onData: () => 'done',
}

/** Connections to the upstream would leave from the client's address; that takes rights over the kernel's routes. */
function originalSrc(_message: Message, context: ProxyContext): Omit<ListenerFilter, 'disabled'> {
  context.notEnforced?.('listener filter original_src')
  return { onAccept: () => 'done', onData: () => 'done' }
}

function tlsInspector(message: Message, context: ProxyContext): Omit<ListenerFilter, 'disabled'> {
  const config = message as TlsInspector
  if (config.enableJa3Fingerprinting) context.notEnforced?.('tls_inspector.enable_ja3_fingerprinting')
  const counter = (name: string) => context.stats.counter(`tls_inspector.${name}`)
  const tooLarge = counter('client_hello_too_large')
  const found = counter('tls_found')
  const notFound = counter('tls_not_found')
  const alpnFound = counter('alpn_found')
  const alpnNotFound = counter('alpn_not_found')
  const sniFound = counter('sni_found')
  const sniNotFound = counter('sni_not_found')
  const processed = context.stats.histogram('tls_inspector.bytes_processed')
  return {
    onAccept: () => 'more',
    onData(incoming, bytes) {
      const verdict = inspectTls(bytes)
      if (verdict === 'more') {
        if (bytes.length < MAX_CLIENT_HELLO_BYTES) return 'more'
        tooLarge.inc()
        return 'close'
      }
      processed.record(bytes.length)
      if (verdict === 'not-tls') {
        notFound.inc()
        return 'done'
      }
      found.inc()
      ;(verdict.sni ? sniFound : sniNotFound).inc()
      ;(verdict.alpn.length > 0 ? alpnFound : alpnNotFound).inc()
      incoming.transportProtocol = 'tls'
      incoming.sni = verdict.sni
      if (verdict.alpn.length > 0) incoming.applicationProtocols = verdict.alpn
      return 'done'
    },
  }
}

function httpInspector(_message: Message, context: ProxyContext): Omit<ListenerFilter, 'disabled'> {
  const counter = (name: string) => context.stats.counter(`http_inspector.${name}`)
  const readError = counter('read_error')
  const notFound = counter('http_not_found')
  const found = {
    'http/1.0': counter('http10_found'),
    'http/1.1': counter('http11_found'),
    h2c: counter('http2_found'),
  }
  return {
    onAccept: (incoming) =>
      incoming.transportProtocol === '' || incoming.transportProtocol === 'raw_buffer' ? 'more' : 'done',
    onData(incoming, bytes) {
      const verdict = inspectHttp(bytes)
      if (verdict === 'more') return 'more'
      if (verdict === 'too-large') {
        readError.inc()
        return 'close'
      }
      if (verdict === 'not-http') {
        notFound.inc()
      } else {
        found[verdict].inc()
        incoming.applicationProtocols = [verdict]
      }
      return 'done'
    },
  }
}

/** ProxyProtocolConfig.Version. */
const V1 = 0
const V2 = 1
/** ProxyProtocolPassThroughTLVs.PassTLVsMatchType. */
const INCLUDE_ALL = 0

function proxyProtocol(message: Message, context: ProxyContext): Omit<ListenerFilter, 'disabled'> {
  const config = message as ProxyProtocol
  if (config.rules.length > 0) context.notEnforced?.('proxy_protocol.rules')
  const pass = config.passThroughTlvs
  const passed = new Set(pass?.tlvType)
  const keeps = (type: number) => pass !== undefined && (pass.matchType === INCLUDE_ALL || passed.has(type))
  const prefix = config.statPrefix ? `proxy_proto.${config.statPrefix}.` : 'proxy_proto.'
  const counter = (name: string) => context.stats.counter(prefix + name)
  const error = context.stats.counter('downstream_cx_proxy_proto_error')
  const absentAllowed = counter('not_found_allowed')
  const absentRefused = counter('not_found_disallowed')
  const versions = [V1, V2].map((version) => ({
    allowed: !config.disallowedVersions.includes(version),
    found: counter(`versions.v${version + 1}.found`),
    disallowed: counter(`versions.v${version + 1}.disallowed`),
  }))
  if (!versions[0]!.allowed && !versions[1]!.allowed) {
    throw new Error('Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.')
  }
  return {
    onAccept: () => 'more',
    onData(incoming, bytes) {
      const verdict = readProxyHeader(bytes)
      if (verdict === 'more') return 'more'
      if (verdict === 'error' || (verdict === 'none' && !config.allowRequestsWithoutProxyProtocol)) {
        if (verdict === 'none') absentRefused.inc()
        error.inc()
        return 'close'
      }
      if (verdict === 'none') {
        absentAllowed.inc()
        return 'done'
      }
      const version = versions[verdict.version - 1]!
      version.found.inc()
      if (!version.allowed) {
        version.disallowed.inc()
        return 'close'
      }
      incoming.consumed += verdict.length
      if (verdict.addresses) {
        incoming.remote = verdict.addresses.remote
        incoming.restoreLocal(verdict.addresses.local)
        const tlvs = verdict.tlvs?.filter(({ type }) => keeps(type))
        if (tlvs?.length) incoming.proxyTlvs = tlvs
      }
      return 'done'
    },
  }
}
