import type { ExtensionProvider, ProviderHttpHeader } from '../../api/kinds/extension-provider.ts'
import type { MeshProxyConfig } from '../../api/kinds/mesh-proxy-config.ts'
import { type Init, packed } from '../../xds/messages.ts'
import { duration } from '../proto.ts'
import { lookupProviderCluster } from '../providers.ts'
import type { ProxyNode } from '../proxy.ts'
import { proxyConfigOf } from '../proxy-config.ts'
import type { PushContext } from '../scope/push-context.ts'

/** Tracing of a connection manager. */
export type Tracing = Init<'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing'>
type CustomTag = Init<'envoy.type.tracing.v3.CustomTag'>

const OVERWRITE_OR_ADD = 2

/**
 * Tracing: by MeshConfig's first default provider; without one, `enableTracing` alone decides on sampling and tags,
 * though nothing reports the spans (networking/core/tracing.go). Telemetry resources will come before both.
 */
export function tracing(push: PushContext, proxy: ProxyNode): Tracing | undefined {
  const { mesh } = push
  const config = proxyConfigOf(push, proxy)
  const name = mesh.defaultProviders.tracing?.[0]
  if (name === undefined) return mesh.enableTracing ? common(push, proxy, config) : undefined
  const provider = mesh.extensionProviders.find((known) => known.name?.toLowerCase() === name.toLowerCase())
  const made = provider && providerTracing(push, proxy, provider)
  return made && { ...common(push, proxy, config), ...made }
}

/** What tracing is like whoever reports the spans. */
function common(push: PushContext, proxy: ProxyNode, config: MeshProxyConfig): Tracing {
  const stated = config.tracing
  let sampling = stated?.sampling || push.env.traceSampling
  if (sampling > 100) sampling = 1
  return {
    clientSampling: { value: 100 },
    overallSampling: { value: 100 },
    randomSampling: { value: sampling },
    maxPathTagLength: stated?.maxPathTagLength || undefined,
    customTags: customTags(proxy, config),
  }
}

function customTags(proxy: ProxyNode, config: MeshProxyConfig): CustomTag[] {
  const tags: CustomTag[] = []
  if (config.tracing?.enableIstioTags !== false) {
    const literal = (tag: string, value: string): CustomTag => ({ tag, type: { case: 'literal', value: { value } } })
    tags.push(
      literal('istio.canonical_revision', proxy.labels['service.istio.io/canonical-revision'] || 'latest'),
      literal('istio.canonical_service', proxy.labels['service.istio.io/canonical-name'] || 'unknown'),
      literal('istio.mesh_id', proxy.meshId || 'unknown'),
      literal('istio.namespace', proxy.namespace || 'default'),
      literal('istio.cluster_id', proxy.clusterId || 'unknown'),
      ...DRY_RUN_TAGS,
    )
  }
  for (const [tag, value] of Object.entries(config.tracing?.customTags ?? {})) {
    if (value.literal) tags.push({ tag, type: { case: 'literal', value: { value: value.literal.value } } })
    else if (value.environment) tags.push({ tag, type: { case: 'environment', value: value.environment } })
    else if (value.header) tags.push({ tag, type: { case: 'requestHeader', value: value.header } })
  }
  return tags.sort((a, b) => ((a.tag ?? '') < (b.tag ?? '') ? -1 : 1))
}

// What a policy in dry run would have decided; absent without one.
const DRY_RUN_TAGS: CustomTag[] = (['allow', 'deny'] as const).flatMap((action) =>
  (
    [
      ['name', 'effective_policy_id'],
      ['result', 'engine_result'],
    ] as const
  ).map(([what, key]) => ({
    tag: `istio.authorization.dry_run.${action}_policy.${what}`,
    type: {
      case: 'metadata' as const,
      value: {
        kind: { kind: { case: 'request' as const, value: {} } },
        metadataKey: {
          key: 'envoy.filters.http.rbac',
          path: [{ segment: { case: 'key' as const, value: `istio_dry_run_${action}_shadow_${key}` } }],
        },
      },
    },
  })),
)

/** A provider that reports spans; undefined for one that does not, or whose service nobody knows. */
function providerTracing(push: PushContext, proxy: ProxyNode, provider: ExtensionProvider): Tracing | undefined {
  const { zipkin, opentelemetry, datadog, skywalking } = provider
  const stated = zipkin ?? opentelemetry ?? datadog ?? skywalking
  const to = lookupProviderCluster(push, stated?.service, stated?.port)
  if (!to) return undefined
  const http = (name: string, value: ReturnType<typeof packed>): Tracing => ({
    provider: { name, configType: { case: 'typedConfig', value } },
    spawnUpstreamSpan: proxy.type === 'router' || skywalking !== undefined ? true : undefined,
  })
  const maxPathTagLength = (zipkin ?? opentelemetry ?? datadog)?.maxTagLength
  const length: Tracing = maxPathTagLength ? { maxPathTagLength } : {}
  if (zipkin) return { ...http('envoy.tracers.zipkin', zipkinConfig(push, zipkin, to)), ...length }
  const grpcService = {
    targetSpecifier: { case: 'envoyGrpc', value: { clusterName: to.cluster, authority: to.hostname } },
  } as const
  if (opentelemetry) {
    return { ...http('envoy.tracers.opentelemetry', openTelemetry(push, opentelemetry, to, proxy)), ...length }
  }
  if (datadog) {
    const config = packed('envoy.config.trace.v3.DatadogConfig', {
      collectorCluster: to.cluster,
      serviceName: proxy.cluster,
      collectorHostname: to.hostname,
    })
    return { ...http('envoy.tracers.datadog', config), ...length }
  }
  return http('envoy.tracers.skywalking', packed('envoy.config.trace.v3.SkyWalkingConfig', { grpcService }))
}

function zipkinConfig(
  push: PushContext,
  stated: NonNullable<ExtensionProvider['zipkin']>,
  to: { hostname: string; cluster: string },
): ReturnType<typeof packed> {
  return packed('envoy.config.trace.v3.ZipkinConfig', {
    collectorEndpointVersion: 1,
    traceId128bit: !stated.enable64bitTraceId,
    sharedSpanContext: false,
    collectorService: {
      httpUri: {
        uri: `http://${to.hostname}${stated.path || '/api/v2/spans'}`,
        httpUpstreamType: { case: 'cluster', value: to.cluster },
        timeout: duration(stated.timeout ?? '5s'),
      },
      requestHeadersToAdd: additions(push, stated.headers),
    },
    traceContextOption: stated.traceContextOption === 'USE_B3_WITH_W3C_PROPAGATION' ? 1 : 0,
  })
}

/** A header of a request to a provider. */
const pair = (push: PushContext) => (header: ProviderHttpHeader) => ({
  key: header.name,
  value: header.value ?? (header.envName ? push.env.variable(header.envName) : ''),
})

const additions = (push: PushContext, headers: readonly ProviderHttpHeader[] | undefined) =>
  (headers ?? []).map(pair(push)).map((header) => ({ header, appendAction: OVERWRITE_OR_ADD }))

function openTelemetry(
  push: PushContext,
  stated: NonNullable<ExtensionProvider['opentelemetry']>,
  to: { hostname: string; cluster: string },
  proxy: ProxyNode,
): ReturnType<typeof packed> {
  const { http, grpc } = stated
  return packed('envoy.config.trace.v3.OpenTelemetryConfig', {
    serviceName: proxy.cluster,
    httpService: http && {
      httpUri: {
        uri: `${to.hostname}/${(http.path ?? '').replace(/^\//, '')}`,
        httpUpstreamType: { case: 'cluster', value: to.cluster },
        timeout: duration(http.timeout),
      },
      requestHeadersToAdd: additions(push, http.headers),
    },
    grpcService: http
      ? undefined
      : {
          targetSpecifier: { case: 'envoyGrpc', value: { clusterName: to.cluster, authority: to.hostname } },
          timeout: duration(grpc?.timeout),
          initialMetadata: (grpc?.initialMetadata ?? []).map(pair(push)),
        },
  })
}
