import { writtenKind } from '../api/kinds-table.ts'
import type { ApiObject, Kind } from '../api/objects.ts'
import { type ResourceName, resourcesOf } from '../api/resource-names.ts'
import type { StatusBook } from '../pilot/gateway-api/status-book.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import { NO_ADDRESS, type Workload } from '../registry/model.ts'
import type { Snapshot } from '../store/store.ts'

/** The objects of one resource, as the API server would give them. */
export interface ObjectsView {
  readonly resource: ResourceName
  readonly items: readonly ObjectView[]
}

/** An object as the API server gives it. */
export interface ObjectView {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string } & Readonly<Record<string, unknown>>
  readonly [field: string]: unknown
}

/** There is no such resource. */
export class UnknownResourceError extends Error {}

/**
 * Objects of resources (`svc,httproutes`, `all`), with what the cluster would have added: statuses, addresses, the pods of
 * deployments, and what Istio makes for Gateways. An empty namespace means all. Throws UnknownResourceError.
 */
export function objectsView(
  { snapshot, registry, gatewayApi }: PushContext,
  statuses: StatusBook,
  words: string,
  namespace: string,
): ObjectsView[] {
  const usesGatewayApi = snapshot.list('KubernetesGateway').length > 0 || snapshot.list('Gateway').length === 0
  const inUse = (kind: Kind): boolean => kind !== 'KubernetesGateway' || usesGatewayApi
  const hidden: ReadonlySet<ApiObject> = new Set(gatewayApi.made)
  return words.split(',').flatMap((word) => {
    const resources = resourcesOf(word, inUse)
    if (!resources) throw new UnknownResourceError(`the server doesn't have a resource type "${word}"`)
    return resources.map((resource) => {
      const objects = list(snapshot, resource.kind).filter((object) => !hidden.has(object))
      const views = objects.map((object) => viewOf(object, statuses, registry))
      if (resource.kind === 'Pod')
        views.push(...registry.workloads.filter(isMade).map((workload) => podView(workload, snapshot)))
      const within = views.filter(
        ({ metadata }) => !namespace || !metadata.namespace || metadata.namespace === namespace,
      )
      const key = ({ metadata }: ObjectView): string => `${metadata.namespace ?? ''}/${metadata.name}`
      return { resource, items: within.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0)) }
    })
  })
}

const list = (snapshot: Snapshot, kind: Kind): readonly ApiObject[] => snapshot.list(kind)

function viewOf(object: ApiObject, statuses: StatusBook, registry: PushContext['registry']): ObjectView {
  const { apiVersion, kind, metadata, origin, ...body } = object
  const view: Record<string, unknown> = { ...body }
  const status = statuses.of(object)
  if (status) view.status = status
  if (object.kind === 'Service') Object.assign(view, addressed(object, registry))
  if (object.kind === 'Pod') {
    const ip = registry.workload(object.metadata.namespace, object.metadata.name)?.ip
    view.status = { ...(ip ? { phase: 'Running', podIP: ip } : {}), ...object.status }
  }
  const { labels, annotations, namespace, ...meta } = metadata
  return {
    ...view,
    apiVersion,
    kind: writtenKind(kind),
    metadata: {
      ...meta,
      ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
      ...(Object.keys(labels).length > 0 ? { labels } : {}),
      ...(namespace ? { namespace } : {}),
    },
  }
}

/** With the address that the mesh has given it; that is also where its load balancer is, if it asks for one. */
function addressed({ spec, status, metadata }: ApiObject<'Service'>, registry: PushContext['registry']) {
  const { name, namespace } = metadata
  const service = registry.services.find(
    (known) => known.registry === 'Kubernetes' && known.name === name && known.namespace === namespace,
  )
  const address = service?.address
  if (!address || address === NO_ADDRESS) return {}
  const given = status?.loadBalancer?.ingress?.length
  const balanced = spec.type === 'LoadBalancer' && !given ? { loadBalancer: { ingress: [{ ip: address }] } } : undefined
  return {
    spec: { ...spec, clusterIP: address, clusterIPs: spec.clusterIPs ?? [address] },
    ...(balanced ? { status: balanced } : {}),
  }
}

const isMade = ({ origin }: Workload): boolean => origin.kind !== 'Pod'

/** The pod of a workload that was made from a template. */
function podView(workload: Workload, snapshot: Snapshot): ObjectView {
  const owner = snapshot.get(workload.ownerKind as Kind, workload.namespace, workload.workloadName)
  const created = owner?.metadata.creationTimestamp
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: workload.name,
      namespace: workload.namespace,
      labels: workload.labels,
      annotations: workload.annotations,
      ...(created ? { creationTimestamp: created } : {}),
    },
    spec: {
      serviceAccountName: workload.serviceAccount,
      containers: workload.containers.map(({ name, image }) => ({ name, image })),
      ...(workload.nodeName ? { nodeName: workload.nodeName } : {}),
    },
    status: { phase: 'Running', podIP: workload.ip, conditions: [{ type: 'Ready', status: 'True' }] },
  }
}
