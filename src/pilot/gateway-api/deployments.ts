import type { Listener } from '../../api/kinds/gateway-api/gateway.ts'
import type { ServicePort } from '../../api/kinds/service.ts'
import type { ApiObject, Kind, ObjectMeta } from '../../api/objects.ts'
import type { Snapshot } from '../../store/snapshot.ts'
import { GATEWAY_NAME_LABEL } from '../internal-names.ts'
import { BUILTIN_CLASSES, GATEWAY_CONTROLLER } from './constants.ts'
import { ConversionContext, controllerOf } from './context.ts'
import { deploymentName, isManaged, serviceAccountName } from './gateway-address.ts'
import { acceptsListeners } from './gateways.ts'
import { originIn } from './made-objects.ts'
import { type OverlayComplaint, withParameters } from './parameters.ts'

type Gateway = ApiObject<'KubernetesGateway'>
type Meta = Record<string, string>

const CLASS_NAME = 'gateway.networking.k8s.io/gateway-class-name'
const MANAGED = 'gateway.istio.io/managed'
const MANAGER = 'istio.io-gateway-controller'
/** Annotations of a Gateway that are not for what is made of it. */
const OWN_ANNOTATIONS = [
  'kubectl.kubernetes.io/last-applied-configuration',
  'gateway.istio.io/name-override',
  'gateway.istio.io/service-account',
  'gateway.istio.io/controller-version',
]

/**
 * The deployments, services and service accounts that Istio makes for Gateways which name no service of their own
 * (gatewaycommon/deploymentcontroller.go, files/kube-gateway.yaml). What exists under the name already is left alone.
 */
export function gatewayDeployments(
  snapshot: Snapshot,
  rootNamespace: string,
  complain?: OverlayComplaint,
): ApiObject[] {
  return snapshot.list('KubernetesGateway').flatMap((gateway) => {
    if (controllerOf(snapshot, gateway.spec.gatewayClassName) !== GATEWAY_CONTROLLER) return []
    if (!isManaged(gateway.spec)) return []
    const made: ApiObject[] = [account(gateway), deployment(gateway), service(gateway, listenersOf(snapshot, gateway))]
    return withParameters(snapshot, gateway, rootNamespace, made, complain).filter(
      ({ kind, metadata }) => !snapshot.get(kind, metadata.namespace, metadata.name),
    )
  })
}

/** What is wrong with overlays of Gateways: a line for each, by where it stands. */
export function overlayProblems(snapshot: Snapshot, rootNamespace: string): Map<string, string> {
  const out = new Map<string, string>()
  if (snapshot.list('KubernetesGateway').length === 0 || snapshot.list('ConfigMap').length === 0) return out
  gatewayDeployments(snapshot, rootNamespace, ({ metadata, origin }, key, reason) => {
    const { file, line, col } = origin.locate(['data', key])
    const place = `${file}:${line}:${col}: ConfigMap ${metadata.namespace}/${metadata.name}`
    out.set(place + key, `${place}: the overlay ${JSON.stringify(key)} of a Gateway is left out: ${reason}`)
  })
  return out
}

/** The classes that Istio makes, as far as they are not written (gatewaycommon/gatewayclass.go). */
export function builtinClasses(snapshot: Snapshot): ApiObject[] {
  const first = snapshot.list('KubernetesGateway')[0]
  return Object.entries(BUILTIN_CLASSES).flatMap(([name, { controller, description }]): ApiObject[] => {
    if (!first || snapshot.get('GatewayClass', '', name)) return []
    const metadata: ObjectMeta = { name, namespace: '', labels: {}, annotations: {}, generation: 1 }
    const { creationTimestamp } = first.metadata
    return [
      {
        apiVersion: 'gateway.networking.k8s.io/v1',
        kind: 'GatewayClass',
        metadata: creationTimestamp === undefined ? metadata : { ...metadata, creationTimestamp },
        spec: { controllerName: controller, description },
        origin: originIn(first, () => ['spec', 'gatewayClassName']),
      },
    ]
  })
}

/** A Gateway's listeners, and those of the ListenerSets that it takes. */
function listenersOf(snapshot: Snapshot, gateway: Gateway): Listener[] {
  const context = new ConversionContext(snapshot, '', NO_SERVICES)
  const { name, namespace } = gateway.metadata
  const sets = snapshot.list('ListenerSet').filter(({ spec: { parentRef }, metadata }) => {
    const own = parentRef.name === name && (parentRef.namespace ?? metadata.namespace) === namespace
    return own && acceptsListeners(context, gateway, metadata.namespace)
  })
  return [...gateway.spec.listeners, ...sets.flatMap(({ spec }) => spec.listeners)]
}

const NO_SERVICES = { byHostname: () => undefined, endpoints: () => [], endpointsOfPort: () => [] }

function labelsOf({ metadata, spec }: Gateway): Meta {
  const infrastructure = spec.infrastructure?.labels
  return {
    ...(infrastructure ? outsiders(infrastructure) : metadata.labels),
    [GATEWAY_NAME_LABEL]: metadata.name,
    [CLASS_NAME]: spec.gatewayClassName,
  }
}

function annotationsOf({ metadata, spec }: Gateway): Meta {
  const infrastructure = spec.infrastructure?.annotations
  const all = infrastructure ? outsiders(infrastructure) : metadata.annotations
  return Object.fromEntries(Object.entries(all).filter(([key]) => !OWN_ANNOTATIONS.includes(key)))
}

/** Keys of the Gateway API itself are not for users. */
function outsiders(meta: Meta): Meta {
  return Object.fromEntries(Object.entries(meta).filter(([key]) => !key.startsWith('gateway.networking.k8s.io/')))
}

function base<K extends Kind>(gateway: Gateway, apiVersion: string, kind: K, name: string) {
  const { namespace, creationTimestamp } = gateway.metadata
  const metadata: ObjectMeta = {
    name,
    namespace,
    labels: { ...labelsOf(gateway), [MANAGED]: MANAGER },
    annotations: annotationsOf(gateway),
    ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
  }
  return { apiVersion, kind, metadata, origin: originIn(gateway, () => []) }
}

function account(gateway: Gateway): ApiObject<'ServiceAccount'> {
  return base(gateway, 'v1', 'ServiceAccount', serviceAccountName(gateway))
}

function deployment(gateway: Gateway): ApiObject<'Deployment'> {
  const name = deploymentName(gateway)
  return {
    ...base(gateway, 'apps/v1', 'Deployment', name),
    spec: {
      replicas: 1,
      selector: { matchLabels: { [GATEWAY_NAME_LABEL]: gateway.metadata.name } },
      template: {
        metadata: {
          annotations: {
            ...annotationsOf(gateway),
            'istio.io/rev': 'default',
            'prometheus.io/path': '/stats/prometheus',
            'prometheus.io/port': '15020',
            'prometheus.io/scrape': 'true',
          },
          labels: {
            'sidecar.istio.io/inject': 'false',
            'service.istio.io/canonical-name': name,
            'service.istio.io/canonical-revision': 'latest',
            ...labelsOf(gateway),
            [MANAGED]: MANAGER,
          },
        },
        spec: {
          serviceAccountName: serviceAccountName(gateway),
          restartPolicy: 'Always',
          containers: [{ name: 'istio-proxy', image: 'auto', args: ['proxy', 'router'] }],
        },
      },
    },
  }
}

function service(gateway: Gateway, listeners: readonly Listener[]): ApiObject<'Service'> {
  const { metadata, spec } = gateway
  const stated = metadata.annotations['networking.istio.io/service-type']
  const type = stated === 'ClusterIP' || stated === 'NodePort' ? stated : 'LoadBalancer'
  const address = spec.addresses?.[0]?.value
  return {
    ...base(gateway, 'v1', 'Service', deploymentName(gateway)),
    spec: {
      type,
      sessionAffinity: 'None',
      ipFamilyPolicy: 'PreferDualStack',
      ports: servicePorts(listeners),
      selector: { [GATEWAY_NAME_LABEL]: metadata.name },
      ...(address && type === 'LoadBalancer' ? { loadBalancerIP: address } : {}),
    },
  }
}

/** A port per number that is listened on, named after its first listener (extractServicePorts). */
export function servicePorts(listeners: readonly Listener[]): ServicePort[] {
  const ports: ServicePort[] = [{ name: 'status-port', port: 15021, protocol: 'TCP', appProtocol: 'tcp' }]
  const names = new Set(['status-port'])
  const seen = new Set<number>()
  for (const { name, port, protocol } of listeners) {
    if (seen.has(port)) continue
    seen.add(port)
    const appProtocol = protocol.toLowerCase()
    ports.push({
      name: uniqueName(name.replaceAll('.', '-').slice(0, 63), port, names),
      port,
      protocol: 'TCP',
      appProtocol,
    })
  }
  return ports
}

function uniqueName(name: string, port: number, used: Set<string>): string {
  let candidate = name
  for (let suffix = `-${port}`; used.has(candidate); suffix += 'x') {
    candidate = `${name.slice(0, 63 - suffix.length)}${suffix}`
  }
  used.add(candidate)
  return candidate
}
