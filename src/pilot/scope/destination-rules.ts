import type { DestinationRule } from '../../api/kinds/destination-rule.ts'
import type { TrafficPolicy } from '../../api/kinds/traffic-policy.ts'
import type { ApiObject } from '../../api/objects.ts'
import { mostSpecific, resolveShortName } from '../../registry/host.ts'
import { type Labels, sameLabels, selects } from '../../registry/labels.ts'
import type { Origin, Service } from '../../registry/model.ts'
import { originAt } from '../provenance.ts'

/** A subset, and where it was written. */
export interface SourcedSubset {
  name: string
  labels: Labels
  trafficPolicy?: TrafficPolicy
  origin: Origin
}

/** Rules of one host that count as one (pilot/pkg/model/destination_rule.go ConsolidatedDestRule). */
export interface MergedRule {
  /** The first of them: its name stands in metadata. */
  object: ApiObject<'DestinationRule'>
  namespace: string
  trafficPolicy?: TrafficPolicy
  subsets: SourcedSubset[]
  selector?: Labels
  exportTo: ReadonlySet<string>
  /** Where the traffic policy stands, or the rule. */
  origin: Origin
  /** `namespace/name` of all of them. */
  from: string[]
}

/** Rules by host, wildcards among them. */
class RuleSet {
  readonly #rules = new Map<string, MergedRule[]>()

  find(hostname: string): MergedRule[] | undefined {
    return mostSpecific(hostname, this.#rules)
  }

  add(host: string, object: ApiObject<'DestinationRule'>, exportTo: ReadonlySet<string>): void {
    const known = this.#rules.get(host)
    if (!known) {
      this.#rules.set(host, [toRule(object, exportTo)])
      return
    }
    let separate = true
    const selector = selectorOf(object.spec)
    for (const rule of known) {
      const equal = sameSet(exportTo, rule.exportTo)
      const superset = rule.exportTo.size > 0 && [...rule.exportTo].every((item) => exportTo.has(item))
      separate = !equal
      if (!equal && !superset) continue
      if (selector && rule.selector && !sameLabels(selector, rule.selector)) {
        separate = true
        continue
      }
      // A rule with a selector and one without, of equal exportTo, are united all the same: so does istiod.
      if ((selector === undefined) === (rule.selector === undefined)) separate = false
      unite(rule, object)
    }
    if (separate) known.push(toRule(object, exportTo))
  }
}

/** DestinationRules, by who uses them (pilot/pkg/model/push_context.go setDestinationRules). */
export class DestinationRules {
  readonly #local = new Map<string, RuleSet>()
  readonly #exported = new Map<string, RuleSet>()
  readonly #rootLocal = new RuleSet()
  readonly #rootNamespace: string
  /** Whether any rule looks at the labels of the client, or of endpoints relative to it. */
  readonly usesLabels: boolean

  constructor(
    objects: readonly ApiObject<'DestinationRule'>[],
    options: { domain: string; rootNamespace: string; defaultExportTo: readonly string[] },
  ) {
    this.#rootNamespace = options.rootNamespace
    const privateByDefault = options.defaultExportTo.includes('.')
    // Those with a selector come first; each group stays oldest first.
    const sorted = [...objects].sort((a, b) => Number(!selectorOf(a.spec)) - Number(!selectorOf(b.spec)))
    for (const object of sorted) {
      const { namespace } = object.metadata
      const host = resolveShortName(object.spec.host, namespace, options.domain)
      const exportTo = new Set(selectorOf(object.spec) ? ['.'] : (object.spec.exportTo ?? []))
      if (exportTo.size === 0 || exportTo.has('*') || exportTo.has('.') || exportTo.has(namespace)) {
        setOf(this.#local, namespace).add(host, object, exportTo)
      }
      const onlyOwn = exportTo.size === 1 && (exportTo.has('.') || exportTo.has(namespace))
      if (!(exportTo.size === 0 && privateByDefault) && !onlyOwn) {
        setOf(this.#exported, namespace).add(host, object, exportTo)
      } else if (namespace === options.rootNamespace) {
        this.#rootLocal.add(host, object, exportTo)
      }
    }
    this.usesLabels = objects.some(
      ({ spec }) => selectorOf(spec) || JSON.stringify(spec).includes('"failoverPriority"'),
    )
  }

  /** The rules for a service as a namespace sees it: own namespace, the service's, the root namespace; first hit wins. */
  forService(namespace: string, service: Service): readonly MergedRule[] {
    const own = namespace === this.#rootNamespace ? this.#rootLocal : this.#local.get(namespace)
    return (
      own?.find(service.hostname) ??
      nonEmpty(this.#exportedBy(service.namespace, service.hostname, namespace)) ??
      this.#exportedBy(this.#rootNamespace, service.hostname, namespace)
    )
  }

  #exportedBy(owner: string, hostname: string, client: string): MergedRule[] {
    const found = this.#exported.get(owner)?.find(hostname) ?? []
    return found.filter(({ exportTo }) => exportTo.size === 0 || exportTo.has('*') || exportTo.has(client))
  }
}

/**
 * The rule that counts for a client: outbound, one of its own namespace whose selector takes it comes first; else
 * the one without selector (model/sidecar.go DestinationRule).
 */
export function ruleFor(
  rules: readonly MergedRule[],
  client: { namespace: string; labels: Labels },
  direction: 'inbound' | 'outbound',
): MergedRule | undefined {
  if (direction === 'outbound') {
    const chosen = rules.find(
      (rule) => rule.selector && rule.namespace === client.namespace && selects(rule.selector, client.labels),
    )
    if (chosen) return chosen
  }
  return rules.findLast((rule) => rule.selector === undefined)
}

const selectorOf = (spec: DestinationRule): Labels | undefined =>
  spec.workloadSelector ? (spec.workloadSelector.matchLabels ?? {}) : undefined

function toRule(object: ApiObject<'DestinationRule'>, exportTo: ReadonlySet<string>): MergedRule {
  const { spec, metadata } = object
  return {
    object,
    namespace: metadata.namespace,
    trafficPolicy: spec.trafficPolicy,
    subsets: subsetsOf(object),
    selector: selectorOf(spec),
    exportTo,
    origin: originAt(object, spec.trafficPolicy ? ['spec', 'trafficPolicy'] : []),
    from: [`${metadata.namespace}/${metadata.name}`],
  }
}

function subsetsOf(object: ApiObject<'DestinationRule'>): SourcedSubset[] {
  return (object.spec.subsets ?? []).map((subset, index) => ({
    name: subset.name,
    labels: subset.labels ?? {},
    trafficPolicy: subset.trafficPolicy,
    origin: originAt(object, ['spec', 'subsets', index]),
  }))
}

function unite(rule: MergedRule, object: ApiObject<'DestinationRule'>): void {
  const { metadata, spec } = object
  rule.from.push(`${metadata.namespace}/${metadata.name}`)
  const names = new Set(rule.subsets.map((subset) => subset.name))
  rule.subsets.push(...subsetsOf(object).filter((subset) => !names.has(subset.name)))
  if (!rule.trafficPolicy && spec.trafficPolicy) {
    rule.trafficPolicy = spec.trafficPolicy
    rule.origin = originAt(object, ['spec', 'trafficPolicy'])
  }
}

function setOf(index: Map<string, RuleSet>, namespace: string): RuleSet {
  let known = index.get(namespace)
  if (!known) {
    known = new RuleSet()
    index.set(namespace, known)
  }
  return known
}

function sameSet(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((item) => b.has(item))
}

function nonEmpty<T>(list: T[]): T[] | undefined {
  return list.length ? list : undefined
}
