import { GATEWAY_API_GROUP } from '../../api/kinds/gateway-api/common.ts'
import type { ApiObject } from '../../api/objects.ts'
import { REFERENT } from './constants.ts'

const FROM = new Set(
  ['Gateway', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'ListenerSet'].map(
    (kind) => `${GATEWAY_API_GROUP}/${kind}`,
  ),
)
const TO: ReadonlySet<string> = new Set([
  REFERENT.configMap,
  REFERENT.secret,
  REFERENT.service,
  REFERENT.xBackend,
  REFERENT.inferencePool,
])

/** Which references between namespaces ReferenceGrants allow (gatewaycommon/references.go). */
export class ReferenceGrants {
  /** Allowed names by `from kind/from namespace>to kind/to namespace`; `*` stands for all. */
  readonly #allowed = new Map<string, Set<string>>()

  constructor(objects: readonly ApiObject<'ReferenceGrant'>[]) {
    for (const { spec, metadata } of objects) {
      for (const from of spec.from) {
        const fromKind = `${from.group}/${from.kind}`
        if (!FROM.has(fromKind)) continue
        for (const to of spec.to) {
          const toKind = `${to.group}/${to.kind}`
          if (!TO.has(toKind)) continue
          const key = pair(fromKind, from.namespace, toKind, metadata.namespace)
          const names = this.#allowed.get(key) ?? new Set()
          this.#allowed.set(key, names.add(to.name ?? '*'))
        }
      }
    }
  }

  /** Whether objects of a kind (`group/Kind`) in a namespace may refer to an object of another. */
  allows(fromKind: string, fromNamespace: string, toKind: string, toNamespace: string, name: string): boolean {
    const names = this.#allowed.get(pair(fromKind, fromNamespace, toKind, toNamespace))
    return names !== undefined && (names.has('*') || names.has(name))
  }
}

function pair(fromKind: string, fromNamespace: string, toKind: string, toNamespace: string): string {
  return `${fromKind}/${fromNamespace}>${toKind}/${toNamespace}`
}
