import type { Any } from '@bufbuild/protobuf/wkt'
import type { MeshConfig } from '../../api/kinds/mesh-config.ts'
import { type Init, packed } from '../../xds/messages.ts'
import type { Mesh } from '../mesh.ts'
import { SDS_CLUSTER, SDS_DEFAULT, SDS_ROOT } from '../names.ts'
import { ADS, ZERO } from '../proto.ts'

/** Values of TlsParameters.TlsProtocol. */
export const TLS_1_2 = 3
export const TLS_1_3 = 4

/** Values of envoy.config.core.v3.ApiConfigSource.ApiType and envoy.config.core.v3.ApiVersion. */
const GRPC = 2
const V3 = 2

const CIPHERS = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-GCM-SHA256',
]

/** The agent's socket, by the name of its cluster in the bootstrap: where a workload's own certificate comes from. */
const AGENT: Init<'envoy.config.core.v3.ConfigSource'> = {
  configSourceSpecifier: {
    case: 'apiConfigSource',
    value: {
      apiType: GRPC,
      setNodeOnFirstMessageOnly: true,
      transportApiVersion: V3,
      grpcServices: [{ targetSpecifier: { case: 'envoyGrpc', value: { clusterName: SDS_CLUSTER } } }],
    },
  },
  resourceApiVersion: V3,
}
/** The same, waited for without end. */
const AGENT_WAITING = { ...AGENT, initialFetchTimeout: ZERO }

/**
 * A secret by name: credentials over the same stream, all else from the agent (pkg/model/sds.go ConstructSdsSecretConfig).
 * Without the workload's own certificate nothing can be done; a credential or a file may be missing, and is not waited for
 * so long.
 */
export const sdsSecret = (name: string): Init<'envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig'> => ({
  name,
  sdsConfig: name.includes('://') ? ADS : name === SDS_DEFAULT || name === SDS_ROOT ? AGENT_WAITING : AGENT,
})

/** Exact matches of subject alternative names. */
export const exactSans = (sans: readonly string[]) =>
  sans.map((exact) => ({ matchPattern: { case: 'exact', value: exact } }) as const)

/** A transport socket that speaks TLS. */
export const tlsSocket = (typedConfig: Any): Init<'envoy.config.core.v3.TransportSocket'> => ({
  name: 'envoy.transport_sockets.tls',
  configType: { case: 'typedConfig', value: typedConfig },
})

/** Trust domains whose workloads are taken: the mesh's, its aliases, and those of further roots. */
export function trustDomains(mesh: Mesh): string[] {
  const more = mesh.caCertificates?.flatMap((certificate) => certificate.trustDomains ?? []) ?? []
  return [...new Set([mesh.trustDomain, ...mesh.trustDomainAliases, ...more])].filter(Boolean)
}

/** The server side of Istio's mutual TLS (pilot/pkg/security/authn/utils BuildInboundTLS). */
export function inboundTls(mesh: Mesh, protocol: 'http' | 'tcp', peerExchange: boolean): Any {
  const min = minVersion(mesh.meshMTLS)
  return packed('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
    commonTlsContext: {
      tlsParams: {
        cipherSuites: mesh.meshMTLS?.cipherSuites ?? CIPHERS,
        tlsMinimumProtocolVersion: min,
        tlsMaximumProtocolVersion: TLS_1_3,
      },
      alpnProtocols:
        protocol === 'tcp' && peerExchange ? ['istio-peer-exchange', 'h2', 'http/1.1'] : ['h2', 'http/1.1'],
      tlsCertificateSdsSecretConfigs: [sdsSecret(SDS_DEFAULT)],
      validationContextType: {
        case: 'combinedValidationContext',
        value: {
          defaultValidationContext: {
            matchSubjectAltNames: trustDomains(mesh).map((domain) => ({
              matchPattern: { case: 'prefix', value: `spiffe://${domain}/` },
            })),
          },
          validationContextSdsSecretConfig: sdsSecret(SDS_ROOT),
        },
      },
    },
    requireClientCertificate: true,
  })
}

const minVersion = (tls: MeshConfig['meshMTLS']): typeof TLS_1_2 | typeof TLS_1_3 =>
  tls?.minProtocolVersion === 'TLSV1_3' ? TLS_1_3 : TLS_1_2
