import type { HTTPRoute, VirtualService } from '../../api/kinds/virtual-service.ts'
import type { ApiObject } from '../../api/objects.ts'
import type { Origin } from '../../registry/model.ts'
import { originAt } from '../provenance.ts'
import { semanticsOf } from '../route/match.ts'
import { mergeDelegate } from './delegates.ts'
import { resolveNames } from './short-names.ts'

/** The name by which all sidecars are meant in `gateways`. */
export const MESH_GATEWAY = 'mesh'

/** An HTTP rule, and where it was written. */
export interface SourcedRoute {
  rule: HTTPRoute
  origin: Origin
}

/** A VirtualService with full names and delegates put in (pilot/pkg/model/virtualservice.go). */
export interface VirtualServiceConfig {
  object: ApiObject<'VirtualService'>
  name: string
  namespace: string
  hosts: string[]
  gateways: string[]
  http: SourcedRoute[]
  tcp: NonNullable<VirtualService['tcp']>
  tls: NonNullable<VirtualService['tls']>
  origin: Origin
}

/** All VirtualServices, by who may see them. */
export class VirtualServices {
  readonly #private = new Map<string, VirtualServiceConfig[]>()
  readonly #exported = new Map<string, VirtualServiceConfig[]>()
  readonly #public: VirtualServiceConfig[] = []
  /** Whether any rule looks at the labels of the client. */
  readonly usesLabels: boolean

  /** Objects oldest first. */
  constructor(objects: readonly ApiObject<'VirtualService'>[], domain: string, defaultExportTo: readonly string[]) {
    const configs = objects.map((object) => convert(object, domain))
    const delegates = new Map<string, VirtualServiceConfig>()
    for (const config of configs) {
      if (config.hosts.length === 0) delegates.set(`${config.namespace}/${config.name}`, config)
    }
    const exportTo = (config: VirtualServiceConfig): Set<string> => {
      const written = config.object.spec.exportTo?.length ? config.object.spec.exportTo : defaultExportTo
      return new Set(written.map((item) => (item === '.' ? config.namespace : item)))
    }
    let usesLabels = false
    for (const config of configs) {
      if (config.hosts.length === 0) continue
      config.http = config.http.flatMap((route) => {
        const { delegate } = route.rule
        if (!delegate) return [route]
        const found = delegates.get(`${delegate.namespace || config.namespace}/${delegate.name}`)
        if (!found) return []
        const seenBy = exportTo(found)
        return seenBy.has('*') || seenBy.has(config.namespace) ? mergeDelegate(route, found.http) : []
      })
      usesLabels ||= looksAtLabels(config)
      this.#add(config, exportTo(config))
    }
    this.usesLabels = usesLabels
  }

  #add(config: VirtualServiceConfig, exportTo: ReadonlySet<string>): void {
    if (exportTo.has('*')) {
      this.#public.push(config)
      return
    }
    if (exportTo.has('~')) return
    for (const namespace of exportTo) {
      const index = namespace === config.namespace ? this.#private : this.#exported
      const known = index.get(namespace)
      if (known) known.push(config)
      else index.set(namespace, [config])
    }
  }

  /** Those that a proxy of a namespace may use at a gateway (or as `mesh`): own private, exported to it, public. */
  visible(namespace: string, gateway: string): VirtualServiceConfig[] {
    // Of public ones, routes of the Gateway API in the proxy's own namespace come first.
    const first = (config: VirtualServiceConfig): boolean =>
      config.namespace === namespace && semanticsOf(config.object.metadata.annotations) === 'gateway'
    const shared = this.#public.some(first)
      ? [...this.#public.filter(first), ...this.#public.filter((config) => !first(config))]
      : this.#public
    const all = [...(this.#private.get(namespace) ?? []), ...(this.#exported.get(namespace) ?? []), ...shared]
    return all.filter((config) => config.gateways.includes(gateway))
  }
}

function looksAtLabels(config: VirtualServiceConfig): boolean {
  return (
    config.http.some(({ rule }) => rule.match?.some((match) => match.sourceLabels)) ||
    config.tcp.some((rule) => rule.match?.some((match) => match.sourceLabels)) ||
    config.tls.some((rule) => rule.match?.some((match) => match.sourceLabels))
  )
}

function convert(object: ApiObject<'VirtualService'>, domain: string): VirtualServiceConfig {
  const { name, namespace } = object.metadata
  const spec = resolveNames(object.spec, namespace, domain)
  return {
    object,
    name,
    namespace,
    hosts: spec.hosts ?? [],
    gateways: spec.gateways?.length ? spec.gateways : [MESH_GATEWAY],
    http: (spec.http ?? []).map((rule, index) => ({ rule, origin: originAt(object, ['spec', 'http', index]) })),
    tcp: spec.tcp ?? [],
    tls: spec.tls ?? [],
    origin: originAt(object, []),
  }
}
