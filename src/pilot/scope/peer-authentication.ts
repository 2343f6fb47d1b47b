import type { MutualTLS, PeerAuthentication } from '../../api/kinds/peer-authentication.ts'
import type { ApiObject } from '../../api/objects.ts'
import { type Labels, selects } from '../../registry/labels.ts'
import { type Origin, originOf } from '../../registry/model.ts'

/** How a workload takes connections. */
export type MtlsMode = 'DISABLE' | 'PERMISSIVE' | 'STRICT'

/** What holds for one workload (pilot/pkg/security/authn/policy_applier.go MergedPeerAuthentication). */
export interface WorkloadMtls {
  mode: MtlsMode
  /** By port of the workload. */
  ports: ReadonlyMap<number, MtlsMode>
  /** The policy that decided the mode; undefined: the default. */
  origin?: Origin
  /** The policy that decided the ports. */
  portOrigin?: Origin
}

/** PeerAuthentications: for the mesh, a namespace, or workloads; the oldest of each scope counts. */
export class PeerAuthentications {
  readonly #byNamespace = new Map<string, ApiObject<'PeerAuthentication'>[]>()
  readonly #rootNamespace: string
  readonly #known = new Map<string, WorkloadMtls>()

  /** Objects oldest first. */
  constructor(objects: readonly ApiObject<'PeerAuthentication'>[], rootNamespace: string) {
    this.#rootNamespace = rootNamespace
    for (const object of objects) {
      const known = this.#byNamespace.get(object.metadata.namespace)
      if (known) known.push(object)
      else this.#byNamespace.set(object.metadata.namespace, [object])
    }
  }

  /** The mode of a namespace or the mesh, without policies for workloads; undefined when neither has a policy. */
  namespaceMode(namespace: string): MtlsMode | undefined {
    const mesh = this.#wide(this.#rootNamespace)
    const inherited = mesh && (stated(mesh.spec.mtls) ?? 'PERMISSIVE')
    const own = namespace === this.#rootNamespace ? undefined : this.#wide(namespace)
    return own ? (stated(own.spec.mtls) ?? inherited ?? 'PERMISSIVE') : inherited
  }

  /** What holds for a workload. */
  forWorkload(namespace: string, labels: Labels): WorkloadMtls {
    const policies = this.#byNamespace.get(namespace)
    const key = policies?.some(hasSelector) ? `${namespace}\0${JSON.stringify(labels)}` : namespace
    let known = this.#known.get(key)
    if (!known) {
      known = this.#compose(namespace, labels)
      this.#known.set(key, known)
    }
    return known
  }

  #compose(namespace: string, labels: Labels): WorkloadMtls {
    const isRoot = namespace === this.#rootNamespace
    const chosen = isRoot
      ? undefined
      : this.#byNamespace
          .get(namespace)
          ?.find((object) => hasSelector(object) && selects(object.spec.selector?.matchLabels, labels))
    let mode: MtlsMode = 'PERMISSIVE'
    let origin: Origin | undefined
    for (const policy of [this.#wide(this.#rootNamespace), isRoot ? undefined : this.#wide(namespace), chosen]) {
      const wanted = stated(policy?.spec.mtls)
      if (policy && wanted) {
        mode = wanted
        origin = originOf(policy)
      }
    }
    const ports = Object.entries(chosen?.spec.portLevelMtls ?? {})
    return {
      mode,
      origin,
      ports: new Map(ports.map(([port, mtls]) => [Number(port), stated(mtls) ?? mode])),
      ...(chosen && ports.length > 0 ? { portOrigin: originOf(chosen) } : {}),
    }
  }

  #wide(namespace: string): ApiObject<'PeerAuthentication'> | undefined {
    return this.#byNamespace.get(namespace)?.find((object) => !hasSelector(object))
  }
}

/** The mode for a port of the workload. */
export const modeForPort = (mtls: WorkloadMtls, port: number): MtlsMode => mtls.ports.get(port) ?? mtls.mode

/** The policy that decided the mode for a port; undefined: none, the default holds. */
export const originForPort = (mtls: WorkloadMtls, port: number): Origin | undefined =>
  mtls.ports.has(port) ? mtls.portOrigin : mtls.origin

const hasSelector = (object: { spec: PeerAuthentication }): boolean =>
  Object.keys(object.spec.selector?.matchLabels ?? {}).length > 0

const stated = (mtls: MutualTLS | undefined): MtlsMode | undefined =>
  mtls?.mode === undefined || mtls.mode === 'UNSET' ? undefined : mtls.mode
