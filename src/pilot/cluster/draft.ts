import type { JsonObject } from '@bufbuild/protobuf'
import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { Service } from '../../registry/model.ts'
import { isHttp, isHttp2, type Protocol } from '../../registry/protocol.ts'
import { type Init, make, packed } from '../../xds/messages.ts'
import { ADS_WAITING } from '../proto.ts'

/** Values of envoy.config.cluster.v3.Cluster.DiscoveryType. */
export const STATIC = 0
export const STRICT_DNS = 1
export const LOGICAL_DNS = 2
export const EDS = 3
export const ORIGINAL_DST = 4
/** Values of envoy.config.cluster.v3.Cluster.LbPolicy. */
export const ROUND_ROBIN = 0
export const LEAST_REQUEST = 1
export const RING_HASH = 2
export const RANDOM = 3
export const MAGLEV = 5
export const CLUSTER_PROVIDED = 6

/** The key of the HTTP options among a cluster's extension options. */
export const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'

type HttpOptions = Init<'envoy.extensions.upstreams.http.v3.HttpProtocolOptions'>

/** A cluster while it is being put together. */
export interface ClusterDraft {
  cluster: Init<'envoy.config.cluster.v3.Cluster'> & { name: string }
  type: 0 | 1 | 2 | 3 | 4 | undefined
  /** Undefined: Envoy's own defaults (HTTP/1.1). */
  http?: HttpOptions
  /** Metadata `istio`. */
  istio: JsonObject
  isDynamic: boolean
}

/** A new draft. */
export function draft(name: string, type: ClusterDraft['type']): ClusterDraft {
  return { cluster: { name, altStatName: `${name};` }, type, istio: {}, isDynamic: false }
}

/** How HTTP/1.1 is spoken upstream: `{}`, or with the case of header names kept. */
export function http1Options(preserveCase: boolean): Init<'envoy.config.core.v3.Http1ProtocolOptions'> {
  if (!preserveCase) return {}
  return {
    headerKeyFormat: {
      headerFormat: {
        case: 'statefulFormatter',
        value: {
          name: 'preserve_case',
          typedConfig: packed('envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig'),
        },
      },
    },
  }
}

/** The upstream protocol of a port: HTTP/2 by declaration, the client's own where the port is sniffed, else HTTP/1.1. */
export function setUpstreamProtocol(
  target: ClusterDraft,
  protocol: Protocol,
  options: { preserveCase: boolean; sidecar: boolean },
): void {
  if (isHttp2(protocol)) {
    setHttp2(target)
  } else if (protocol === 'AUTO' && options.sidecar) {
    setClientProtocol(target, options.preserveCase)
  } else if (options.preserveCase && (isHttp(protocol) || protocol === 'AUTO')) {
    target.http = {
      ...target.http,
      upstreamProtocolOptions: {
        case: 'explicitHttpConfig',
        value: { protocolConfig: { case: 'httpProtocolOptions', value: http1Options(true) } },
      },
    }
  }
}

/** HTTP/2, unless a protocol is set already. */
export function setHttp2(target: ClusterDraft): void {
  if (target.http?.upstreamProtocolOptions) return
  target.http = {
    ...target.http,
    upstreamProtocolOptions: {
      case: 'explicitHttpConfig',
      value: { protocolConfig: { case: 'http2ProtocolOptions', value: {} } },
    },
  }
}

/** Whatever the client speaks. */
export function setClientProtocol(target: ClusterDraft, preserveCase: boolean): void {
  target.http = {
    ...target.http,
    upstreamProtocolOptions: {
      case: 'useDownstreamProtocolConfig',
      value: { httpProtocolOptions: http1Options(preserveCase), http2ProtocolOptions: {} },
    },
  }
}

/** The HTTP/2 options, where the cluster speaks HTTP/2 by declaration. */
export function http2Of(target: ClusterDraft): Init<'envoy.config.core.v3.Http2ProtocolOptions'> | undefined {
  const protocol = target.http?.upstreamProtocolOptions
  if (protocol?.case !== 'explicitHttpConfig') return undefined
  const config = protocol.value.protocolConfig
  return config?.case === 'http2ProtocolOptions' ? config.value : undefined
}

/** `services` of the metadata `istio`: what telemetry calls the destination. */
export const serviceMetadata = (service: Service) => ({
  host: service.hostname,
  name: service.name,
  namespace: service.namespace,
})

/** Finishes a draft. */
export function finish(target: ClusterDraft): Cluster {
  const { cluster, type, http, istio } = target
  if (type !== undefined) cluster.clusterDiscoveryType = { case: 'type', value: type }
  if (type === ORIGINAL_DST) cluster.lbPolicy = CLUSTER_PROVIDED
  if (type === EDS) cluster.edsClusterConfig = { serviceName: cluster.name, edsConfig: ADS_WAITING }
  if (http) {
    // The protocol is required wherever there are options at all.
    http.upstreamProtocolOptions ??= {
      case: 'explicitHttpConfig',
      value: { protocolConfig: { case: 'httpProtocolOptions', value: {} } },
    }
    cluster.typedExtensionProtocolOptions = { [HTTP_OPTIONS]: packed(HTTP_OPTIONS, http) }
  }
  if (Object.keys(istio).length) {
    cluster.metadata = { filterMetadata: { ...cluster.metadata?.filterMetadata, istio: istio } }
  }
  return make('envoy.config.cluster.v3.Cluster', cluster)
}
