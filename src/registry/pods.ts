import { createHash } from 'node:crypto'
import type { PodSpec, PodTemplateSpec } from '../api/kinds/pod.ts'
import type { ApiObject, ObjectMeta } from '../api/objects.ts'
import type { AddressAllotter } from './addresses.ts'
import { canonicalName, canonicalRevision, type Labels } from './labels.ts'
import { type ContainerPort, type Health, type Origin, originOf, type Workload } from './model.ts'
import { localityOfPod, type Nodes } from './nodes.ts'

/** The label by which a workload says that it takes Istio's mutual TLS. */
export const TLS_MODE_LABEL = 'security.istio.io/tlsMode'

// The injector never touches these (pkg/kube/inject/inject.go IgnoredNamespaces).
const NEVER_INJECTED = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'local-path-storage'])

/** What making workloads needs besides the objects. */
export interface PodContext {
  allotter: AddressAllotter
  nodes: Nodes
  /** Labels of a namespace. */
  namespaceLabels(namespace: string): Labels
}

/** The kinds that hold a pod template. */
export type Owner = ApiObject<'Deployment' | 'ReplicaSet' | 'StatefulSet' | 'DaemonSet' | 'Job' | 'CronJob'>

/** The workload of a Pod object; undefined for a pod that has run to its end. */
export function podWorkload(pod: ApiObject<'Pod'>, context: PodContext): Workload | undefined {
  const phase = pod.status?.phase
  if (phase === 'Succeeded' || phase === 'Failed') return undefined
  return workload(
    {
      name: pod.metadata.name,
      namespace: pod.metadata.namespace,
      labels: pod.metadata.labels,
      annotations: pod.metadata.annotations,
      spec: pod.spec,
      ip: pod.status?.podIP ?? pod.status?.podIPs?.[0]?.ip,
      ...ownerOf(pod.metadata),
      health: healthOf(pod),
      origin: originOf(pod),
    },
    context,
  )
}

/** The workload that a pod belongs to, from its owner reference (pkg/kube/util GetWorkloadMetaFromPod). */
function ownerOf(meta: ObjectMeta): { workloadName: string; ownerKind: string } {
  const stated = meta.labels['service.istio.io/workload-name']
  const owner = meta.ownerReferences?.find((reference) => reference.controller)
  if (!owner) return { workloadName: stated ?? meta.name, ownerKind: 'Pod' }
  const hash = meta.labels['pod-template-hash']
  if (owner.kind === 'ReplicaSet' && hash && owner.name.endsWith(`-${hash}`)) {
    return { workloadName: stated ?? owner.name.slice(0, -hash.length - 1), ownerKind: 'Deployment' }
  }
  const cron = owner.kind === 'Job' ? /^(.+)-\d{8,10}$/.exec(owner.name)?.[1] : undefined
  return { workloadName: stated ?? cron ?? owner.name, ownerKind: cron ? 'CronJob' : owner.kind }
}

function healthOf(pod: ApiObject<'Pod'>): Health {
  if (pod.metadata.deletionTimestamp) return 'TERMINATING'
  const ready = pod.status?.conditions?.find((condition) => condition.type === 'Ready')
  if (ready) return ready.status === 'True' ? 'HEALTHY' : 'UNHEALTHY'
  return pod.status?.phase === 'Pending' ? 'UNHEALTHY' : 'HEALTHY'
}

/** The workloads that an object with a pod template would run: named, numbered and labelled as its controller does. */
export function ownedWorkloads(owner: Owner, context: PodContext): Workload[] {
  const { name, namespace } = owner.metadata
  const template: PodTemplateSpec =
    owner.kind === 'CronJob' ? owner.spec.jobTemplate.spec.template : owner.spec.template
  // As with the real controllers, another template makes other pods.
  const content = JSON.stringify(template)
  const hash = digest(`${namespace}/${name}/${content}`, 9)
  const origin = originOf(owner)
  const make = (podName: string, labels: Record<string, string>, nodeName?: string): Workload =>
    workload(
      {
        name: podName,
        namespace,
        labels: { ...template.metadata?.labels, ...labels },
        annotations: template.metadata?.annotations ?? {},
        spec: nodeName && !template.spec.nodeName ? { ...template.spec, nodeName } : template.spec,
        workloadName: name,
        ownerKind: owner.kind,
        health: 'HEALTHY',
        origin,
      },
      context,
    )
  const suffix = (n: number | string): string => digest(`${namespace}/${name}/${n}/${content}`, 5)
  const count = (n: number | undefined): number[] => Array.from({ length: n ?? 1 }, (_, i) => i)
  switch (owner.kind) {
    case 'Deployment':
      return count(owner.spec.replicas).map((n) => make(`${name}-${hash}-${suffix(n)}`, { 'pod-template-hash': hash }))
    case 'ReplicaSet':
      return count(owner.spec.replicas).map((n) => make(`${name}-${suffix(n)}`, {}))
    case 'StatefulSet':
      return count(owner.spec.replicas).map((n) =>
        make(`${name}-${n}`, {
          'apps.kubernetes.io/pod-index': String(n),
          'controller-revision-hash': `${name}-${hash}`,
          'statefulset.kubernetes.io/pod-name': `${name}-${n}`,
        }),
      )
    case 'DaemonSet': {
      const nodes = context.nodes.names()
      return (nodes.length ? nodes : ['']).map((node) =>
        make(`${name}-${suffix(node)}`, { 'controller-revision-hash': hash }, node),
      )
    }
    case 'Job':
      if (owner.spec.suspend) return []
      return count(Math.min(owner.spec.parallelism ?? 1, owner.spec.completions ?? Number.POSITIVE_INFINITY)).map((n) =>
        make(`${name}-${suffix(n)}`, { 'batch.kubernetes.io/job-name': name, 'job-name': name }),
      )
    case 'CronJob':
      if (owner.spec.suspend) return []
      return [make(`${name}-${suffix(0)}`, { 'batch.kubernetes.io/job-name': name, 'job-name': name })]
  }
}

/** Which owners already have their pods among the objects, as in a dump of a cluster: these make none of their own. */
export function ownersWithPods(children: Iterable<ApiObject<'Pod' | 'ReplicaSet' | 'Job'>>): Set<string> {
  const out = new Set<string>()
  for (const child of children) {
    const { namespace, ownerReferences = [] } = child.metadata
    for (const owner of ownerReferences) out.add(`${owner.kind}/${namespace}/${owner.name}`)
  }
  return out
}

// Kubernetes's own alphabet for generated names: no vowels, no look-alikes.
const ALPHABET = 'bcdfghjklmnpqrstvwxz2456789'

function digest(text: string, length: number): string {
  return Array.from(createHash('sha256').update(text).digest().subarray(0, length), (byte) => ALPHABET[byte % 27]).join(
    '',
  )
}

interface PodFacts {
  name: string
  namespace: string
  labels: Record<string, string>
  annotations: Record<string, string>
  spec: PodSpec
  ip?: string
  workloadName: string
  ownerKind: string
  health: Health
  origin: Origin
}

function workload(pod: PodFacts, context: PodContext): Workload {
  // One that states its proxy itself is left alone by the injector (files/kube-gateway.yaml).
  const router = pod.spec.containers.some(
    ({ name, args }) => name === 'istio-proxy' && /^proxy,router\b/.test(`${args}`),
  )
  const gateway = router || (pod.annotations['inject.istio.io/templates'] ?? '').split(',').includes('gateway')
  const injected = router || isInjected(pod, gateway, context.namespaceLabels(pod.namespace))
  const labels = injected && !router ? injectedLabels(pod.labels, pod.workloadName) : pod.labels
  const nodeName = pod.spec.nodeName ?? ''
  return {
    name: pod.name,
    namespace: pod.namespace,
    ip: pod.ip || context.allotter.pod(`${pod.namespace}/${pod.name}`),
    labels,
    annotations: pod.annotations,
    serviceAccount: pod.spec.serviceAccountName || pod.spec.serviceAccount || 'default',
    nodeName,
    locality: localityOfPod(labels, nodeName, context.nodes),
    network: labels['topology.istio.io/network'] ?? '',
    workloadName: pod.workloadName,
    ownerKind: pod.ownerKind,
    containerPorts: containerPorts(pod.spec),
    containers: pod.spec.containers.map((container) => ({
      name: container.name,
      image: container.image ?? '',
      command: container.command ?? [],
      args: container.args ?? [],
      env: Object.fromEntries((container.env ?? []).map((entry) => [entry.name, entry.value ?? ''])),
    })),
    health: pod.health,
    injected,
    gateway: gateway && injected,
    origin: pod.origin,
  }
}

function isInjected(pod: PodFacts, gateway: boolean, namespaceLabels: Labels): boolean {
  if (pod.spec.hostNetwork || NEVER_INJECTED.has(pod.namespace)) return false
  // The label is what counts; the annotation is its older form (pkg/kube/inject/inject.go injectRequired).
  const wish = pod.labels['sidecar.istio.io/inject'] ?? pod.annotations['sidecar.istio.io/inject']
  if (wish !== undefined) return /^(?:y|yes|true|on)$/i.test(wish)
  return gateway || namespaceLabels['istio-injection'] !== 'disabled'
}

function injectedLabels(labels: Record<string, string>, workloadName: string): Labels {
  return {
    [TLS_MODE_LABEL]: 'istio',
    'service.istio.io/canonical-name': canonicalName(labels, workloadName),
    'service.istio.io/canonical-revision': canonicalRevision(labels),
    ...labels,
  }
}

function containerPorts(spec: PodSpec): ContainerPort[] {
  const sidecars = (spec.initContainers ?? []).filter((container) => container.restartPolicy === 'Always')
  return [...spec.containers, ...sidecars].flatMap((container) =>
    (container.ports ?? []).map((port) => ({
      name: port.name ?? '',
      port: port.containerPort,
      protocol: port.protocol,
    })),
  )
}
