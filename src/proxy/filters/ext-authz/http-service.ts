import type { HttpService as HttpServiceProto } from '#gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { durationMs, Problems } from '../../http/config.ts'
import { headersToSet, ownRetryPolicy } from '../../http/own-request-config.ts'
import { HeaderMutation } from '../../http/router/header-mutation.ts'
import type { RetryPolicy } from '../../http/router/retry-policy.ts'
import { DEFAULT_TIMEOUT_MS } from './authorizer.ts'
import { NameMatchers } from './name-matchers.ts'

/** Headers of a denial that the client gets beside those that are asked for. */
const ALWAYS_TO_CLIENT = [':status', 'content-length', 'www-authenticate', 'location']

/** An authorizer that is asked by plain HTTP, as configs describe it (source/extensions/filters/common/ext_authz/ext_authz_http_impl.cc ClientConfig). */
export class HttpServiceConfig {
  readonly cluster: string
  /** ms */
  readonly timeout: number
  readonly pathPrefix: string
  /** Takes the place of the request's path; '' for none. */
  readonly pathOverride: string
  /** Of the check itself. */
  readonly headers: HeaderMutation
  /** Of the authorizer's answer: what the client sees of a denial, and of a permission. */
  readonly toClient: NameMatchers
  readonly toClientOnSuccess: NameMatchers
  /** What replaces headers of the request, and what joins them. */
  readonly toUpstream: NameMatchers
  readonly toUpstreamAppended: NameMatchers
  readonly toMetadata: NameMatchers
  readonly retryPolicy: RetryPolicy | undefined

  /** Throws ConfigError. */
  constructor(config: HttpServiceProto, runtime: Runtime) {
    const problems = new Problems()
    const { serverUri, authorizationRequest, authorizationResponse: response, pathPrefix, pathOverride } = config
    this.retryPolicy = problems.collect('', () => ownRetryPolicy(config.retryPolicy))
    if (pathPrefix !== '' && !pathPrefix.startsWith('/')) problems.add('path_prefix', 'should start with "/".')
    if (pathOverride !== '' && !pathOverride.startsWith('/')) problems.add('path_override', 'should start with "/".')
    if (pathPrefix !== '' && pathOverride !== '')
      problems.add('path_override', 'Only one of path_prefix or path_override may be set, not both.')
    const names = (field: string, list: Parameters<typeof NameMatchers.of>[0], ...always: string[]): NameMatchers =>
      problems.collect(`authorization_response.${field}`, () => NameMatchers.of(list, ...always)) ??
      NameMatchers.of(list)
    this.cluster = serverUri?.httpUpstreamType.case === 'cluster' ? serverUri.httpUpstreamType.value : ''
    this.timeout = durationMs(serverUri?.timeout) ?? DEFAULT_TIMEOUT_MS
    this.pathPrefix = pathPrefix
    this.pathOverride = pathOverride
    this.headers =
      problems.collect('authorization_request.headers_to_add', () =>
        headersToSet(authorizationRequest?.headersToAdd ?? [], runtime),
      ) ?? new HeaderMutation([], [], runtime)
    const toClient = response?.allowedClientHeaders
    this.toClient =
      toClient === undefined || toClient.patterns.length === 0
        ? NameMatchers.allBut(':authority')
        : names('allowed_client_headers', toClient, ...ALWAYS_TO_CLIENT)
    this.toClientOnSuccess = names('allowed_client_headers_on_success', response?.allowedClientHeadersOnSuccess)
    this.toUpstream = names('allowed_upstream_headers', response?.allowedUpstreamHeaders)
    this.toUpstreamAppended = names('allowed_upstream_headers_to_append', response?.allowedUpstreamHeadersToAppend)
    this.toMetadata = names('dynamic_metadata_from_headers', response?.dynamicMetadataFromHeaders)
    problems.throwIfAny()
  }
}
