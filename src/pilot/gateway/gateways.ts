import type { ApiObject } from '../../api/objects.ts'
import { selects } from '../../registry/labels.ts'
import { INTERNAL } from '../internal-names.ts'
import type { ProxyNode } from '../proxy.ts'
import { type MergedGateway, mergeGateways, type SelectedGateway } from './merge.ts'

/** What decides on the Gateways of a proxy. */
export type GatewayProxy = Pick<ProxyNode, 'type' | 'labels' | 'targets'>

/** All Gateways, by whom they select (pilot/pkg/model/push_context.go mergeGateways). */
export class Gateways {
  readonly objects: readonly ApiObject<'Gateway'>[]
  readonly #merged = new Map<string, MergedGateway | undefined>()

  /** Objects oldest first. */
  constructor(objects: readonly ApiObject<'Gateway'>[]) {
    this.objects = objects
  }

  /** The Gateways of a gateway proxy as one; undefined without any, and for sidecars. */
  of(proxy: GatewayProxy): MergedGateway | undefined {
    if (proxy.type !== 'router') return undefined
    const key = JSON.stringify([
      proxy.labels,
      proxy.targets.map(({ service, port, targetPort }) => [
        service.namespace,
        service.hostname,
        port.port,
        targetPort,
      ]),
    ])
    if (!this.#merged.has(key)) {
      const selected = this.objects.flatMap((object) => select(object, proxy) ?? [])
      this.#merged.set(key, selected.length ? mergeGateways(selected) : undefined)
    }
    return this.#merged.get(key)
  }
}

/** By its selector, or, made from one of the Gateway API, by the services that it names, of its own namespace or its parent's. */
function select(object: ApiObject<'Gateway'>, proxy: GatewayProxy): SelectedGateway | undefined {
  const { annotations, namespace } = object.metadata
  const names = annotations[INTERNAL.gatewayService]?.split(',')
  if (!names) {
    return selects(object.spec.selector, proxy.labels)
      ? { object, targets: proxy.targets, byService: false }
      : undefined
  }
  const own = annotations[INTERNAL.parentNamespace] || namespace
  const targets = proxy.targets.filter(({ service }) => service.namespace === own && names.includes(service.hostname))
  return targets.length ? { object, targets, byService: true } : undefined
}
