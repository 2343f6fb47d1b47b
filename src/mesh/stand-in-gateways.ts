import type { ServicePort } from '../api/kinds/service.ts'
import type { ApiObject, Origin } from '../api/objects.ts'
import { ingressObjects } from '../pilot/ingress/conversion.ts'
import { meshOf } from '../pilot/mesh.ts'
import { type Labels, selects } from '../registry/labels.ts'
import type { Snapshot } from '../store/snapshot.ts'

type Gateway = ApiObject<'Gateway'>
type Service = ApiObject<'Service'>

/** Set on what is made here: the gateway that it stands in for. */
export const STANDS_IN = 'dinghy.dev/stands-in'

/** The gateways that an installation of Istio brings, by the label that samples select. */
const INSTALLED = ['ingressgateway', 'egressgateway', 'eastwestgateway']
const NAMESPACE = 'istio-system'
/** The ports of the service of an installed gateway, and where its pod listens. */
const INSTALLED_PORTS: readonly (readonly [name: string, port: number, target: number])[] = [
  ['http2', 80, 8080],
  ['https', 443, 8443],
]
const TEMPLATES = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'] as const

/** The Gateways of a cluster: those that are written, and those that Ingresses stand for. */
function gatewaysOf(snapshot: Snapshot, domain: string): Gateway[] {
  const ingress = snapshot.list('Ingress').length ? ingressObjects(snapshot, meshOf(snapshot), domain).gateways : []
  return [...snapshot.list('Gateway'), ...ingress]
}

/** Gateways whose selectors fit no pod of the files. */
export function unservedGateways(snapshot: Snapshot, domain: string): Gateway[] {
  const all = gatewaysOf(snapshot, domain)
  if (all.length === 0) return []
  const pods = podLabels(snapshot)
  return all.filter(({ spec }) => !pods.some(({ labels }) => selects(spec.selector, labels)))
}

/**
 * Deployments and services for the gateways that files speak of without bringing them, as Istio's samples do: they count
 * on an installation of Istio. Those that every installation has are made whenever no pod fits; others only if there is
 * no gateway at all, for else a selector that fits none is a mistake to be seen.
 */
export function standInGateways(snapshot: Snapshot, domain: string): ApiObject[] {
  const unserved = unservedGateways(snapshot, domain)
  if (unserved.length === 0) return []
  const hasGateway = snapshot.list('KubernetesGateway').length > 0 || podLabels(snapshot).some(({ gateway }) => gateway)
  const bySelector = new Map<string, Gateway[]>()
  for (const gateway of unserved) {
    const selector = gateway.spec.selector ?? {}
    if (Object.keys(selector).length === 0 ? hasGateway : hasGateway && !isInstalled(selector)) continue
    const key = JSON.stringify(Object.entries(selector).sort())
    bySelector.set(key, [...(bySelector.get(key) ?? []), gateway])
  }
  return [...bySelector.values()].flatMap((gateways) => standIn(snapshot, gateways))
}

/** Whether a selector is for a gateway that every installation of Istio has. */
export const isInstalled = (selector: Labels): boolean =>
  Object.entries(selector).every(
    ([key, value]) =>
      (key === 'istio' && INSTALLED.includes(value)) ||
      (key === 'app' && INSTALLED.some((name) => value === `istio-${name}`)),
  )

interface PodLabels {
  labels: Labels
  gateway: boolean
}

/** The labels of all pods that there are or will be. */
function podLabels(snapshot: Snapshot): PodLabels[] {
  const facts = (meta: { labels?: Labels; annotations?: Labels } | undefined): PodLabels => ({
    labels: meta?.labels ?? {},
    gateway: (meta?.annotations?.['inject.istio.io/templates'] ?? '').split(',').includes('gateway'),
  })
  return [
    ...snapshot.list('Pod').map(({ metadata }) => facts(metadata)),
    ...TEMPLATES.flatMap((kind) => snapshot.list(kind).map(({ spec }) => facts(spec.template?.metadata))),
  ]
}

function standIn(snapshot: Snapshot, gateways: readonly Gateway[]): ApiObject[] {
  const first = gateways[0] as Gateway
  const selector = first.spec.selector ?? {}
  // A service that waits for the gateway's pods says what they are called, and where they are.
  const service = snapshot.list('Service').find((known) => fits(known, selector))
  const name = service?.metadata.name ?? nameOf(selector)
  const namespace = service?.metadata.namespace ?? NAMESPACE
  const labels = { app: name, ...selector, ...service?.spec.selector }
  const base = {
    metadata: {
      name,
      namespace,
      labels,
      annotations: { [STANDS_IN]: `${first.metadata.namespace}/${first.metadata.name}` },
      ...(first.metadata.creationTimestamp ? { creationTimestamp: first.metadata.creationTimestamp } : {}),
    },
    origin: originOf(first),
  }
  const account = `${name}-service-account`
  const made: ApiObject[] = [
    {
      ...base,
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        template: {
          metadata: {
            labels: { ...labels, 'sidecar.istio.io/inject': 'true' },
            annotations: {
              'inject.istio.io/templates': 'gateway',
              [STANDS_IN]: base.metadata.annotations[STANDS_IN] ?? '',
            },
          },
          spec: {
            serviceAccountName: account,
            restartPolicy: 'Always',
            containers: [{ name: 'istio-proxy', image: 'auto' }],
          },
        },
      },
    },
  ]
  if (!service) {
    made.push({
      ...base,
      apiVersion: 'v1',
      kind: 'Service',
      spec: { type: 'LoadBalancer', sessionAffinity: 'None', selector: labels, ports: servicePorts(gateways) },
    })
  }
  return made
}

/** Whether a service's selector is for the same pods: they agree on a label, and on all that both name. */
function fits({ spec }: Service, selector: Labels): boolean {
  const own = Object.entries(spec.selector ?? {})
  const shared = own.filter(([key]) => selector[key] !== undefined)
  return shared.length > 0 && shared.every(([key, value]) => selector[key] === value)
}

function nameOf(selector: Labels): string {
  if (selector.istio) return selector.istio.startsWith('istio-') ? selector.istio : `istio-${selector.istio}`
  const value = selector.app ?? Object.values(selector)[0] ?? 'istio-ingressgateway'
  return (
    value
      .toLowerCase()
      .replace(/[^a-z0-9-]+/g, '-')
      .replace(/^-+|-+$/g, '') || 'istio-ingressgateway'
  )
}

/** The ports of an installed gateway, and those of its Gateways besides. */
function servicePorts(gateways: readonly Gateway[]): ServicePort[] {
  const ports: ServicePort[] = INSTALLED_PORTS.map(([name, port, targetPort]) => ({
    name,
    port,
    targetPort,
    protocol: 'TCP',
  }))
  const taken = new Set(INSTALLED_PORTS.flatMap(([, port, target]) => [port, target]))
  for (const { port } of gateways.flatMap(({ spec }) => spec.servers ?? [])) {
    if (taken.has(port.number) || port.number === 0) continue
    taken.add(port.number)
    ports.push({ name: `${port.protocol.toLowerCase()}-${port.number}`, port: port.number, protocol: 'TCP' })
  }
  return ports
}

// What is made points at the selector that asks for it.
function originOf({ kind, metadata, origin }: Gateway): Origin {
  const at = origin.locate(['spec', 'selector'])
  const source = origin.source?.([]) ?? { kind, namespace: metadata.namespace, name: metadata.name }
  return { ...at, locate: () => at, source: () => source }
}
