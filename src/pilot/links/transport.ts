import type { Cluster } from '#gen/envoy/config/cluster/v3/cluster_pb.js'
import type { TransportSocket } from '#gen/envoy/config/core/v3/base_pb.js'
import { unpack } from '../../xds/messages.ts'
import { SDS_DEFAULT } from '../names.ts'
import type { LinkTransport } from './link.ts'

const UPSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext'
const PROXY_PROTOCOL = 'envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'

/** How connections of a cluster go, and whether the client shows a certificate. */
export interface ClusterTransport {
  readonly transport: LinkTransport
  readonly showsCertificate: boolean
}

const PLAINTEXT: ClusterTransport = { transport: 'plaintext', showsCertificate: false }

/** How a cluster connects to an endpoint: by its own socket, or by the first whose match the endpoint's metadata fits. */
export function transportTo(
  cluster: Cluster,
  metadata: Readonly<Record<string, unknown>> | undefined,
): ClusterTransport {
  if (cluster.transportSocket) return socketTransport(cluster.transportSocket)
  const found = cluster.transportSocketMatches.find(({ match }) =>
    Object.entries(match ?? {}).every(([key, value]) => metadata?.[key] === value),
  )
  return found?.transportSocket ? socketTransport(found.transportSocket) : PLAINTEXT
}

function socketTransport({ configType }: TransportSocket): ClusterTransport {
  if (configType.case !== 'typedConfig') return PLAINTEXT
  const wrapped = unpack(configType.value, PROXY_PROTOCOL)?.transportSocket
  if (wrapped) return socketTransport(wrapped)
  const common = unpack(configType.value, UPSTREAM_TLS)?.commonTlsContext
  if (!common) return PLAINTEXT
  const names = common.tlsCertificateSdsSecretConfigs.map(({ name }) => name)
  return {
    transport: names.includes(SDS_DEFAULT) ? 'mTLS' : 'TLS',
    showsCertificate: names.length + common.tlsCertificates.length > 0,
  }
}
