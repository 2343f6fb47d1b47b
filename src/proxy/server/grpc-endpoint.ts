import { X509Certificate } from 'node:crypto'
import net from 'node:net'
import { type ChannelCredentials, credentials, Metadata } from '@grpc/grpc-js'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { GrpcService } from '#gen/envoy/config/core/v3/grpc_service_pb.js'
import type { UpstreamTlsContext } from '#gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { grpcTransport } from '../../xds/grpc-transport.ts'
import type { AdsTransport } from '../../xds/stream.ts'
import { formatAddress } from '../listener/connection.ts'
import { openAny } from '../listener/typed-filter.ts'
import { LazyCertificate } from '../net/certificate.ts'
import { CommonTls } from '../tls/common-context.ts'
import type { SecretProvider } from '../tls/secrets.ts'
import { googleGrpc } from './google-grpc.ts'

const TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
const RAW = 'envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer'

/** Where a gRPC service of the bootstrap is, and with which methods it is spoken to. */
export interface GrpcEndpoint {
  readonly bootstrap: Bootstrap
  readonly services: readonly GrpcService[]
  readonly service: 'ads' | 'sds'
  readonly secrets: SecretProvider
  /** Of the `grpc_services`, for messages. */
  readonly path: string
}

/**
 * Opens the transport to the first of some gRPC services: `envoy_grpc`, by a static cluster with its TLS context, or
 * `google_grpc`. Throws what is wrong, with the path.
 */
export function openGrpc({ bootstrap, services, service, secrets, path }: GrpcEndpoint): AdsTransport {
  const [first] = services
  if (!first) throw new Error(`${path}: at least one is required`)
  const { targetSpecifier: target, initialMetadata } = first
  const metadata = () => {
    const sent = new Metadata()
    for (const { key, value } of initialMetadata) sent.add(key, value)
    return sent
  }
  if (target.case === 'googleGrpc') {
    const { address, ...how } = googleGrpc(target.value, metadata, `${path}[0].google_grpc`)
    return grpcTransport(address, { ...how, service })
  }
  if (target.case !== 'envoyGrpc') throw new Error(`${path}[0]: envoy_grpc is required`)
  const { clusterName, authority } = target.value
  const cluster = staticCluster(bootstrap, clusterName, `${path}[0].envoy_grpc`)
  const address = addressOf(cluster, `${path}[0]`)
  const tls = tlsOf(cluster, secrets, `${path}[0]`)
  const transport = grpcTransport(address, {
    service,
    metadata,
    credentials: tls ? () => tls.credentials() : undefined,
    serverName: tls && (tls.sni || nameIn(address)),
    channelArguments: { 'grpc.default_authority': authority || clusterName },
  })
  return {
    ...transport,
    close() {
      transport.close()
      tls?.close()
    },
  }
}

/** The cluster of that name, which has to be static. Throws in Envoy's words. */
export function staticCluster(bootstrap: Bootstrap, name: string, path: string): Cluster {
  const cluster = bootstrap.staticResources?.clusters.find((known) => known.name === name)
  if (!cluster) throw new Error(`${path}: Unknown gRPC client cluster '${name}'`)
  return cluster
}

/** Of a TLS cluster without `sni` Envoy sends no server name; gRPC cannot do without one. */
function nameIn(address: string): string {
  const host = address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '')
  return address.startsWith('unix:') || net.isIP(host) ? 'localhost' : host
}

function addressOf(cluster: Cluster, path: string): string {
  const endpoint = cluster.loadAssignment?.endpoints[0]?.lbEndpoints[0]?.hostIdentifier
  const address = endpoint?.case === 'endpoint' ? endpoint.value.address?.address : undefined
  if (address?.case === 'pipe') return `unix:${address.value.path}`
  if (address?.case !== 'socketAddress' || address.value.portSpecifier.case !== 'portValue') {
    throw new Error(`${path}: cluster '${cluster.name}' has no endpoint with an address and a port`)
  }
  return formatAddress({ ip: address.value.address, port: address.value.portSpecifier.value })
}

interface EndpointTls {
  readonly sni: string
  /** Undefined until all secrets have come; the same object until one changes. */
  credentials(): ChannelCredentials | undefined
  close(): void
}

function tlsOf(cluster: Cluster, secrets: SecretProvider, path: string): EndpointTls | undefined {
  const socket = cluster.transportSocket
  if (socket?.configType.case !== 'typedConfig') return undefined
  const at = `${path}: cluster '${cluster.name}': transport_socket`
  const { typeName, message } = openAny(socket.name, socket.configType.value)
  if (typeName === RAW) return undefined
  if (typeName !== TLS) throw new Error(`${at}: ${typeName} is not supported for gRPC of the proxy itself`)
  const { commonTlsContext, sni } = message as UpstreamTlsContext
  if (!commonTlsContext) return { sni, credentials: () => credentials.createSsl(), close() {} }
  const common = new CommonTls(commonTlsContext, 'TLSv1.3', secrets, `${at}.common_tls_context`)
  let made: ChannelCredentials | undefined
  common.onChange(() => {
    made = undefined
  })
  return {
    sni,
    credentials() {
      const { built } = common
      if (!built) return undefined
      made ??= credentials.createFromSecureContext(built.context, {
        rejectUnauthorized: built.verifyChain,
        // The name does not count, as in Envoy: what counts is what the context says of SANs.
        checkServerIdentity: (_, peer) => {
          const refused = built.verifier?.verify(new LazyCertificate(new X509Certificate(peer.raw)), () => {})
          return refused === undefined ? undefined : new Error(refused)
        },
      })
      return made
    },
    close: () => common.close(),
  }
}
