import type {
  EnvoyExternalAuthorizationGrpcProvider,
  EnvoyExternalAuthorizationHttpProvider,
  EnvoyExternalAuthorizationRequestBody,
  ExtensionProvider,
} from '../../api/kinds/extension-provider.ts'
import { isAddress, isLabel, wildcardFault } from '../../api/validate/names.ts'
import { type Init, registry } from '../../xds/messages.ts'
import { duration } from '../proto.ts'
import { lookupProviderCluster } from '../providers.ts'
import type { PushContext } from '../scope/push-context.ts'

type HttpExtAuthz = Init<'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz'>
type NetworkExtAuthz = Init<'envoy.extensions.filters.network.ext_authz.v3.ExtAuthz'>
type HttpService = Init<'envoy.extensions.filters.http.ext_authz.v3.HttpService'>
type StringMatchers = Init<'envoy.type.matcher.v3.ListStringMatcher'>

/** The filters that ask one authorizer, without what tells them when to. */
export interface Authorizer {
  http: HttpExtAuthz
  /** Of a gRPC provider alone: one over HTTP cannot be asked about bytes. */
  tcp?: NetworkExtAuthz
}

const V3 = 2
const DEFAULT_TIMEOUT = '600s'

/**
 * The authorizer of a provider's name, or why there is none (pilot/pkg/security/authz/builder/extauthz.go
 * processExtensionProvider).
 */
export function authorizerOf(push: PushContext, name: string): Authorizer | string {
  const named = push.mesh.extensionProviders.filter((provider) => authorizing(provider) && provider.name === name)
  const [provider] = named
  if (!provider) return `there is no authorizer "${name}" among MeshConfig's extensionProviders`
  if (named.length > 1) return `MeshConfig's extensionProviders have the name "${name}" more than once`
  const { envoyExtAuthzHttp: http, envoyExtAuthzGrpc: grpc } = provider
  const problem = nameProblem(name) ?? settingsProblem((http ?? grpc)!) ?? (http && httpProblem(http))
  if (problem !== undefined) return `extension provider "${name}": ${problem}`
  const { service, port } = (http ?? grpc)!
  const to = lookupProviderCluster(push, service, port)
  if (!to) return `extension provider "${name}": no service "${service}" (or more than one namespace has it)`
  return http ? { http: overHttp(http, to) } : overGrpc(grpc!, to)
}

const authorizing = ({ envoyExtAuthzHttp, envoyExtAuthzGrpc }: ExtensionProvider): boolean =>
  envoyExtAuthzHttp !== undefined || envoyExtAuthzGrpc !== undefined

const nameProblem = (name: string): string | undefined =>
  name.length <= 63 && /^[a-z\d](?:[a-z\d-]*[a-z\d])?$/.test(name)
    ? undefined
    : 'its name must be of at most 63 lowercase letters, digits and hyphens'

type Settings = EnvoyExternalAuthorizationHttpProvider | EnvoyExternalAuthorizationGrpcProvider

/** What keeps either kind from being used (ValidateExtensionProviderEnvoyExtAuthzHTTP and …GRPC). */
function settingsProblem({ service = '', port = 0, statusOnError = '' }: Settings): string | undefined {
  if (port < 1 || port > 65_535) return `port must be from 1 to 65535, is ${port}`
  if (service === '') return 'service is needed'
  const [namespace, host] = service.includes('/') ? service.split('/', 2) : [undefined, service]
  if (!isAddress(host!) && wildcardFault(host!) !== undefined) return `service "${service}" is no host name`
  if (namespace !== undefined && !isLabel(namespace)) return `service "${service}" names no namespace`
  if (statusOnError !== '' && statusCode(statusOnError) === undefined) {
    return `statusOnError "${statusOnError}" is no status that Envoy knows`
  }
  return undefined
}

const HEADER_LISTS = [
  'includeRequestHeadersInCheck',
  'includeHeadersInCheck',
  'headersToUpstreamOnAllow',
  'headersToDownstreamOnDeny',
  'headersToDownstreamOnAllow',
] as const

function httpProblem(provider: EnvoyExternalAuthorizationHttpProvider): string | undefined {
  const { pathPrefix } = provider
  if (pathPrefix && !pathPrefix.startsWith('/')) return `pathPrefix must begin with "/", is "${pathPrefix}"`
  const all = HEADER_LISTS.find((field) => provider[field]?.includes('*'))
  return all && `${all}: "*" alone is not supported, only the start or end of a name`
}

/** The number of a status that Envoy's StatusCode has; undefined for others. */
function statusCode(text: string): number | undefined {
  const code = /^\+?\d{1,9}$/.test(text) ? Number(text) : 0
  return code !== 0 && registry().getEnum('envoy.type.v3.StatusCode')?.value[code] ? code : undefined
}

const common = (provider: Settings): HttpExtAuthz => ({
  statusOnError: provider.statusOnError ? { code: statusCode(provider.statusOnError)! } : undefined,
  failureModeAllow: provider.failOpen,
  clearRouteCache: provider.clearRouteCache,
  transportApiVersion: V3,
  withRequestBody: body(provider.includeRequestBodyInCheck),
})

const body = (stated: EnvoyExternalAuthorizationRequestBody | undefined): HttpExtAuthz['withRequestBody'] =>
  stated && {
    maxRequestBytes: stated.maxRequestBytes,
    allowPartialMessage: stated.allowPartialMessage,
    packAsBytes: stated.packAsBytes,
  }

interface Target {
  hostname: string
  cluster: string
}

function overHttp(provider: EnvoyExternalAuthorizationHttpProvider, to: Target): HttpExtAuthz {
  const added = Object.entries(provider.includeAdditionalHeadersInCheck ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => ({ key, value }))
  const response = {
    allowedUpstreamHeaders: headerNames(provider.headersToUpstreamOnAllow),
    allowedClientHeaders: headerNames(provider.headersToDownstreamOnDeny),
    allowedClientHeadersOnSuccess: headerNames(provider.headersToDownstreamOnAllow),
  }
  const service: HttpService = {
    pathPrefix: provider.pathPrefix,
    serverUri: {
      timeout: duration(provider.timeout ?? DEFAULT_TIMEOUT),
      uri: `http://${to.hostname}`,
      httpUpstreamType: { case: 'cluster', value: to.cluster },
    },
    authorizationRequest: added.length > 0 ? { headersToAdd: added } : undefined,
    authorizationResponse: Object.values(response).some(Boolean) ? response : undefined,
  }
  return {
    ...common(provider),
    services: { case: 'httpService', value: service },
    // The second list is deprecated and counts only without the first.
    allowedHeaders: headerNames(provider.includeRequestHeadersInCheck) ?? headerNames(provider.includeHeadersInCheck),
  }
}

function overGrpc(provider: EnvoyExternalAuthorizationGrpcProvider, to: Target): Authorizer {
  const grpcService: Init<'envoy.config.core.v3.GrpcService'> = {
    targetSpecifier: { case: 'envoyGrpc', value: { clusterName: to.cluster, authority: to.hostname } },
    timeout: duration(provider.timeout ?? DEFAULT_TIMEOUT),
  }
  return {
    http: { ...common(provider), services: { case: 'grpcService', value: grpcService } },
    tcp: { statPrefix: 'tcp.', failureModeAllow: provider.failOpen, transportApiVersion: V3, grpcService },
  }
}

/** Names of headers, with `*` at the start or end of one; undefined for none. */
function headerNames(names: readonly string[] | undefined): StringMatchers | undefined {
  if (!names?.length) return undefined
  const pattern = (name: string) => {
    if (name.startsWith('*')) return { case: 'suffix', value: name.slice(1) } as const
    if (name.endsWith('*')) return { case: 'prefix', value: name.slice(0, -1) } as const
    return { case: 'exact', value: name } as const
  }
  return { patterns: names.map((name) => ({ matchPattern: pattern(name), ignoreCase: true })) }
}
