import type { ExtAuthz } from '#gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { Problems } from '../../http/config.ts'
import { GrpcService } from '../../http/grpc-service.ts'
import { MutationRules } from '../../http/mutation-rules.ts'
import { Fraction } from '../../http/router/fraction.ts'
import { MetadataMatcher } from '../../http/router/metadata-matcher.ts'
import type { HttpFilterContext } from '../filter.ts'
import type { AttributeChoice } from './attributes.ts'
import { HttpServiceConfig } from './http-service.ts'
import { NameMatchers } from './name-matchers.ts'
import { nodeLabels } from './peer.ts'
import { type BodyLimit, bodyLimit } from './per-route.ts'
import type { HeaderChoice } from './subject.ts'

/** ApiVersion */
const V2 = 1
/** Headers that an authorizer of HTTP gets in any case. */
const ALWAYS_TO_AUTHORIZER = ['authorization', ':method', ':path', ':authority']

/** The config of a filter, compiled (source/extensions/filters/http/ext_authz/ext_authz.cc FilterConfig). */
export class ExtAuthzSettings {
  readonly service: GrpcService | HttpServiceConfig
  readonly headers: HeaderChoice
  readonly attributes: AttributeChoice
  readonly body: BodyLimit | undefined
  readonly failureModeAllow: boolean
  readonly tellsFailureModeAllowed: boolean
  readonly clearsRouteCache: boolean
  /** The route is looked for again only if one of these changes; empty: at any change. */
  readonly routeHeaders: ReadonlySet<string>
  readonly statusOnError: number
  readonly validates: boolean
  /** Undefined: always on. */
  readonly enabled: Fraction | undefined
  readonly enabledMetadata: MetadataMatcher | undefined
  readonly denyAtDisable: boolean
  readonly rules: MutationRules | undefined
  readonly takesMetadata: boolean
  readonly chargesCluster: boolean
  /** Bytes; 0 is no limit. */
  readonly maxDeniedBody: number
  readonly enforcesResponseLimits: boolean
  /** Every request passes; what would have become of it is only noted. */
  readonly shadow: boolean

  /** Throws ConfigError. */
  constructor(config: ExtAuthz, { proxy }: HttpFilterContext) {
    const problems = new Problems()
    const { services } = config
    const service = problems.collect(services.case === 'httpService' ? 'http_service' : 'grpc_service', () => {
      if (services.case === 'httpService') return new HttpServiceConfig(services.value, proxy.runtime)
      if (services.case === 'grpcService') return new GrpcService(services.value, proxy.runtime)
      throw new ConfigError(['one of grpc_service and http_service is required'])
    })
    refuse(config, problems, proxy)
    this.headers = {
      allowed: problems.collect('allowed_headers', () => allowedHeaders(config)),
      disallowed: problems.collect('disallowed_headers', () =>
        config.disallowedHeaders === undefined ? undefined : NameMatchers.of(config.disallowedHeaders),
      ),
      raw: config.encodeRawHeaders,
    }
    this.attributes = {
      certificate: config.includePeerCertificate,
      labels: nodeLabels(proxy.node, config.bootstrapMetadataLabelsKey),
      tlsSession: config.includeTlsSession,
      packAsBytes: services.case === 'httpService' || (config.withRequestBody?.packAsBytes ?? false),
      namespaces: config.metadataContextNamespaces,
      routeNamespaces: config.routeMetadataContextNamespaces,
    }
    this.body = bodyLimit(config.withRequestBody)
    this.failureModeAllow = config.failureModeAllow
    this.tellsFailureModeAllowed = config.failureModeAllowHeaderAdd
    this.clearsRouteCache = config.clearRouteCache
    this.routeHeaders = new Set(config.clearRouteCacheHeaders.map((name) => name.toLowerCase()))
    const status = config.statusOnError?.code ?? 0
    this.statusOnError = status >= 100 && status <= 511 ? status : 403
    this.validates = config.validateMutations
    this.enabled = config.filterEnabled && Fraction.ofRuntime(config.filterEnabled)
    const { filterEnabledMetadata, decoderHeaderMutationRules } = config
    this.enabledMetadata =
      filterEnabledMetadata &&
      problems.collect('filter_enabled_metadata', () => new MetadataMatcher(filterEnabledMetadata))
    this.denyAtDisable = config.denyAtDisable?.defaultValue ?? false
    this.rules =
      decoderHeaderMutationRules &&
      problems.collect('decoder_header_mutation_rules', () => new MutationRules(decoderHeaderMutationRules))
    this.takesMetadata = config.enableDynamicMetadataIngestion ?? true
    this.chargesCluster = config.chargeClusterResponseStats ?? true
    this.maxDeniedBody = config.maxDeniedResponseBodyBytes
    this.enforcesResponseLimits = config.enforceResponseHeaderLimits
    this.shadow = config.shadowMode
    problems.throwIfAny()
    this.service = service!
  }
}

/** What is refused, and what is understood but has no effect. */
function refuse(config: ExtAuthz, problems: Problems, proxy: ProxyContext): void {
  const note = (field: string, set: boolean): void => {
    if (set) proxy.notEnforced?.(`ext_authz.${field}`)
  }
  note('emit_filter_state_stats', config.emitFilterStateStats)
  note('filter_metadata', config.filterMetadata !== undefined)
  note('typed_metadata_context_namespaces', config.typedMetadataContextNamespaces.length > 0)
  if (config.routeTypedMetadataContextNamespaces.length > 0)
    problems.add('route_typed_metadata_context_namespaces', 'not supported')
  if ((config.transportApiVersion as number) === V2)
    problems.add('transport_api_version', 'The v2 xDS major version has been removed and is no longer supported.')
}

/** Undefined: the authorizer sees every header. */
function allowedHeaders({ services, allowedHeaders: common }: ExtAuthz): NameMatchers | undefined {
  if (services.case !== 'httpService') return common === undefined ? undefined : NameMatchers.of(common)
  const own = services.value.authorizationRequest?.allowedHeaders
  if (own !== undefined && common !== undefined)
    throw new ConfigError(['Invalid duplicate configuration for allowed_headers.'])
  return NameMatchers.of(own ?? common, ...ALWAYS_TO_AUTHORIZER)
}
