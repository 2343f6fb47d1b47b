import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { ApiConfigSource, ConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import type { UpstreamTlsContext } from '#gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import type { AdsMode, AdsTransport } from '../../xds/stream.ts'
import { formatAddress } from '../listener/connection.ts'
import { openAny } from '../listener/typed-filter.ts'
import { readDataSource } from '../tls/data-source.ts'
import { readCertificate } from '../tls/secrets.ts'

/** ApiConfigSource.ApiType. */
const MODES: Readonly<Record<number, AdsMode>> = { 2: 'sotw', 3: 'delta', 5: 'sotw', 6: 'delta' }
const TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'

/** The variant of ADS that the bootstrap asks for. Throws on one that is not spoken here. */
export function adsMode(config: ApiConfigSource): AdsMode {
  const mode = MODES[config.apiType]
  if (!mode) throw new Error('bootstrap.dynamic_resources.ads_config.api_type: only GRPC and DELTA_GRPC are supported')
  return mode
}

/** True when a source says that its resources come over ADS. Throws on any other source. */
export function isAds(source: ConfigSource | undefined, path: string): boolean {
  if (!source) return false
  if (source.configSourceSpecifier.case === 'ads') return true
  throw new Error(`${path}: only ads is supported`)
}

/** Connects to the control plane that the bootstrap names. The gRPC library is loaded only here. */
export async function openAdsTransport(bootstrap: Bootstrap, config: ApiConfigSource): Promise<AdsTransport> {
  const { grpcTransport } = await import('../../xds/grpc-transport.ts')
  const { credentials, Metadata } = await import('@grpc/grpc-js')
  const service = config.grpcServices[0]
  const path = 'bootstrap.dynamic_resources.ads_config.grpc_services[0]'
  if (!service) throw new Error('bootstrap.dynamic_resources.ads_config.grpc_services: at least one is required')
  const metadata = () => {
    const sent = new Metadata()
    for (const { key, value } of service.initialMetadata) sent.add(key, value)
    return sent
  }
  if (service.targetSpecifier.case === 'googleGrpc') {
    return grpcTransport(service.targetSpecifier.value.targetUri, { metadata })
  }
  if (service.targetSpecifier.case !== 'envoyGrpc') throw new Error(`${path}: envoy_grpc is required`)
  const name = service.targetSpecifier.value.clusterName
  const cluster = bootstrap.staticResources?.clusters.find((c) => c.name === name)
  if (!cluster) throw new Error(`${path}.envoy_grpc: Unknown gRPC client cluster '${name}'`)
  const tls = tlsOf(cluster, path)
  return grpcTransport(targetOf(cluster, path), {
    metadata,
    credentials: tls ? credentials.createSsl(tls.ca, tls.key, tls.cert) : credentials.createInsecure(),
  })
}

function targetOf(cluster: Cluster, path: string): string {
  const endpoint = cluster.loadAssignment?.endpoints[0]?.lbEndpoints[0]?.hostIdentifier
  const address = endpoint?.case === 'endpoint' ? endpoint.value.address?.address : undefined
  if (address?.case === 'pipe') return `unix:${address.value.path}`
  if (address?.case !== 'socketAddress' || address.value.portSpecifier.case !== 'portValue') {
    throw new Error(`${path}: cluster '${cluster.name}' has no endpoint with an address and a port`)
  }
  return formatAddress({ ip: address.value.address, port: address.value.portSpecifier.value })
}

function tlsOf(
  cluster: Cluster,
  path: string,
): { ca: Buffer | null; key: Buffer | null; cert: Buffer | null } | undefined {
  const socket = cluster.transportSocket
  if (socket?.configType.case !== 'typedConfig') return undefined
  const { typeName, message } = openAny(socket.name, socket.configType.value)
  if (typeName !== TLS) return undefined
  const common = (message as UpstreamTlsContext).commonTlsContext
  const at = `${path}: cluster '${cluster.name}'`
  const errors: string[] = []
  const validation = common?.validationContextType
  if (common?.tlsCertificateSdsSecretConfigs.length || (validation?.case && validation.case !== 'validationContext')) {
    throw new Error(`${at}: secrets by SDS are not supported for the control plane's own cluster`)
  }
  const ca = readDataSource(
    validation?.case === 'validationContext' ? validation.value.trustedCa : undefined,
    `${at}.trusted_ca`,
    errors,
  )
  if (errors.length > 0) throw new Error(errors.join('; '))
  const certificate = common?.tlsCertificates[0] && readCertificate(common.tlsCertificates[0], at)
  const pem = (text: string | undefined) => (text === undefined ? null : Buffer.from(text))
  return { ca: ca ?? null, key: pem(certificate?.key), cert: pem(certificate?.cert) }
}
