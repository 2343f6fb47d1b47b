import { writtenKind } from '../../api/kinds-table.ts'
import type { Kind, OtherObject, Path } from '../../api/objects.ts'
import { selects } from '../../registry/labels.ts'
import type { Workload } from '../../registry/model.ts'
import type { Capture } from '../links/link.ts'
import { attachesTo } from '../policy-attachment.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'
import { proxyOfWorkload } from '../workload-proxy.ts'
import type { Message, MessageType, Reported } from './message.ts'

/** Namespaces that every cluster has. */
const ALWAYS_THERE = ['default', 'kube-system', 'kube-public', 'kube-node-lease']

/** Kinds without a namespace among those that the mesh does not read. */
const CLUSTER_WIDE = new Set(['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'])

/** An annotation with codes that are not to be reported of an object, or `*`. */
const SUPPRESS = 'galley.istio.io/analyze-suppress'

/** A policy for workloads: those that its selector or its targets name. */
export interface Bound {
  readonly metadata: { readonly namespace: string }
  readonly spec: {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> | undefined } | undefined
    readonly targetRef?: PolicyTarget | undefined
    readonly targetRefs?: readonly PolicyTarget[] | undefined
  }
}
type PolicyTarget = NonNullable<Parameters<typeof attachesTo>[0]['targetRefs']>[number]

/** What analysis depends on besides the objects. */
export interface ContextOptions {
  /** Whether an object is nobody's, so that there is nobody to tell of it. */
  readonly isMade?: (object: Reported) => boolean
  /** Which connections come to sidecars; default: all. */
  readonly capture?: Capture
}

/** What analyzers look at, and where they say what they found. */
export class AnalysisContext {
  readonly push: PushContext
  /** Objects of kinds that the mesh itself does not read. */
  readonly others: readonly OtherObject[]
  readonly messages: Message[] = []
  readonly capture: Capture | undefined
  /** Objects that are nobody's: made here, so that there is nobody to tell. */
  readonly #isMade: (object: Reported) => boolean
  readonly #nodes = new Map<string, ProxyNode>()
  #namespaces: ReadonlySet<string> | undefined

  constructor(
    push: PushContext,
    others: readonly OtherObject[],
    { isMade = () => false, capture }: ContextOptions = {},
  ) {
    this.push = push
    this.others = others
    this.#isMade = isMade
    this.capture = capture
  }

  /** Says something of an object, at a path of it; unless its annotation asks not to. */
  report<A extends readonly unknown[]>(type: MessageType<A>, object: Reported, path: Path, ...args: A): void {
    const { kind, metadata, origin } = object
    const quiet = metadata.annotations[SUPPRESS]?.split(',').map((code) => code.trim()) ?? []
    if (quiet.includes('*') || quiet.includes(type.code) || this.#isMade(object)) return
    const { file, line, col } = origin.locate(path)
    this.messages.push({
      code: type.code,
      level: type.level,
      name: type.name,
      certain: type.certain,
      text: type.text(...args),
      subject: {
        kind: writtenKind(kind as Kind),
        namespace: CLUSTER_WIDE.has(kind) ? '' : metadata.namespace,
        name: metadata.name,
      },
      at: { file, line, col },
    })
  }

  /** The workloads that have a proxy of their own. */
  get meshed(): readonly Workload[] {
    return this.push.registry.workloads.filter(({ injected }) => injected)
  }

  /** How the proxy of a workload is seen: with the services that it serves. */
  proxyOf(workload: Workload): ProxyNode {
    const key = `${workload.namespace}/${workload.name}`
    let node = this.#nodes.get(key)
    if (!node) {
      node = proxyOfWorkload(this.push, workload)
      this.#nodes.set(key, node)
    }
    return node
  }

  /** The workloads with a proxy that a policy binds: of its namespace, or of all for one of the root namespace. */
  boundBy({ metadata, spec }: Bound): Workload[] {
    const { rootNamespace } = this.push.mesh
    const targetRefs = spec.targetRefs?.length ? spec.targetRefs : spec.targetRef ? [spec.targetRef] : []
    const attachment = { targetRefs, labels: spec.selector?.matchLabels }
    return this.meshed.filter(
      (workload) =>
        (metadata.namespace === rootNamespace || metadata.namespace === workload.namespace) &&
        attachesTo(attachment, metadata.namespace, this.proxyOf(workload)),
    )
  }

  /** Workloads of any kind with the labels. */
  pods(labels: Readonly<Record<string, string>> | undefined): Workload[] {
    return this.push.registry.workloads.filter((workload) => selects(labels, workload.labels))
  }

  /** Whether a namespace is there: it is an object, or something lives in it. */
  get namespaces(): ReadonlySet<string> {
    this.#namespaces ??= new Set([
      ...ALWAYS_THERE,
      this.push.mesh.rootNamespace,
      ...this.push.snapshot.list('Namespace').map(({ metadata }) => metadata.name),
      ...this.push.registry.workloads.map(({ namespace }) => namespace),
      ...this.push.registry.services.map(({ namespace }) => namespace),
    ])
    return this.#namespaces
  }

  /** An object of a kind that the mesh does not read, by kind. */
  othersOf(kind: string): OtherObject[] {
    return this.others.filter((object) => object.kind === kind)
  }
}

/** Labels as `kubectl` writes a selector: sorted, `a=b,c=d`. */
export function selectorText(labels: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(labels ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
}
