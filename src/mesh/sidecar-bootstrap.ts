import type { JsonObject } from '@bufbuild/protobuf'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { splitLocality } from '../registry/labels.ts'
import type { Workload } from '../registry/model.ts'
import { type Init, make, packed } from '../xds/messages.ts'
import type { SidecarSettings } from './sidecar-settings.ts'

/** The version that sidecars say they are, as istio-agent puts it into the node metadata. */
const ISTIO_VERSION = '1.32.0'

/** Values of envoy.config.core.v3.ApiConfigSource.ApiType and envoy.config.core.v3.ApiVersion. */
const DELTA_GRPC = 3
const API_V3 = 2

/** Mesh-wide names that go into the node metadata. */
export interface MeshIdentity {
  readonly domain: string
  readonly clusterId: string
}

/**
 * The bootstrap of a sidecar, as istio-agent writes it (istio pkg/bootstrap/config.go): who it is, and that
 * everything comes over ADS (delta).
 */
export function sidecarBootstrap(
  workload: Workload,
  mesh: MeshIdentity,
  settings: SidecarSettings,
  admin: { ip: string; port: number },
): Bootstrap {
  const type = workload.gateway ? 'router' : 'sidecar'
  const { namespace, name, ip } = workload
  return make('envoy.config.bootstrap.v3.Bootstrap', {
    node: {
      id: `${type}~${ip}~${name}.${namespace}~${namespace}.svc.${mesh.domain}`,
      cluster: `${workload.labels['service.istio.io/canonical-name'] ?? workload.workloadName}.${namespace}`,
      locality: localityOf(workload.locality),
      metadata: {
        ...settings.metadata,
        ANNOTATIONS: { ...workload.annotations },
        CLUSTER_ID: mesh.clusterId,
        HTTP_PROXY_PORT: String(settings.httpProxyPort),
        INSTANCE_IPS: ip,
        INTERCEPTION_MODE: settings.interception,
        ISTIO_VERSION,
        LABELS: { ...workload.labels },
        MESH_ID: settings.meshId,
        NAME: name,
        NAMESPACE: namespace,
        NODE_NAME: workload.nodeName,
        OWNER: `kubernetes://apis/apps/v1/namespaces/${namespace}/${workload.ownerKind.toLowerCase()}s/${workload.workloadName}`,
        SERVICE_ACCOUNT: workload.serviceAccount,
        WORKLOAD_NAME: workload.workloadName,
        ...(Object.keys(settings.own).length > 0 ? { PROXY_CONFIG: settings.own as JsonObject } : {}),
        ...(workload.network ? { NETWORK: workload.network } : {}),
      },
    },
    admin: {
      address: {
        address: {
          case: 'socketAddress',
          value: { address: admin.ip, portSpecifier: { case: 'portValue', value: admin.port } },
        },
      },
    },
    layeredRuntime: {
      layers: [
        {
          name: 'global config',
          layerSpecifier: {
            case: 'staticLayer',
            // Istio's own bootstrap also turns Envoy's http_reject_path_with_fragment off, which cuts `#…` from paths. Here
            // it stays on, as in a plain Envoy: no client sends a fragment but to be taken for another path. Who wants it
            // cut says so in the runtimeValues of ProxyConfig.
            value: { ...settings.runtimeValues },
          },
        },
      ],
    },
    overloadManager: settings.connectionLimit > 0 ? connectionLimit(settings.connectionLimit) : undefined,
    dynamicResources: {
      adsConfig: { apiType: DELTA_GRPC, transportApiVersion: API_V3, setNodeOnFirstMessageOnly: true },
      cdsConfig: { configSourceSpecifier: { case: 'ads', value: {} }, resourceApiVersion: API_V3 },
      ldsConfig: { configSourceSpecifier: { case: 'ads', value: {} }, resourceApiVersion: API_V3 },
    },
  })
}

function connectionLimit(maxActiveDownstreamConnections: number): Init<'envoy.config.overload.v3.OverloadManager'> {
  return {
    resourceMonitors: [
      {
        name: 'envoy.resource_monitors.global_downstream_max_connections',
        configType: {
          case: 'typedConfig',
          value: packed('envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig', {
            maxActiveDownstreamConnections: BigInt(maxActiveDownstreamConnections),
          }),
        },
      },
    ],
  }
}

function localityOf(text: string): { region: string; zone: string; subZone: string } {
  const [region, zone, subZone] = splitLocality(text)
  return { region, zone, subZone }
}
