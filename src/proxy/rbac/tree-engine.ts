import type { Action } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import type { Matcher } from '#gen/xds/type/matcher/v3/matcher_pb.js'
import { ConfigError } from '../context.ts'
import type { Subject } from '../matching/subject.ts'
import { compileTree, type MatchTree, UNDECIDED } from '../matching/tree.ts'
import type { StatsStore } from '../observe/stats.ts'
import type { RbacEngine, Verdict } from './engine.ts'

const ACTION = 'envoy.config.rbac.v3.Action'
const DENY = 1
const LOG = 2

const NETWORK = 'envoy.extensions.matching.common_inputs.network.v3.'
const SSL = 'envoy.extensions.matching.common_inputs.ssl.v3.'

const NETWORK_INPUTS: ReadonlySet<string> = new Set([
  `${NETWORK}DestinationIPInput`,
  `${NETWORK}DestinationPortInput`,
  `${NETWORK}SourceIPInput`,
  `${NETWORK}SourcePortInput`,
  `${NETWORK}DirectSourceIPInput`,
  `${NETWORK}ServerNameInput`,
  `${NETWORK}NetworkNamespaceInput`,
  `${NETWORK}FilterStateInput`,
  `${SSL}UriSanInput`,
  `${SSL}DnsSanInput`,
  `${SSL}SubjectInput`,
])

const HTTP_INPUTS: ReadonlySet<string> = new Set([
  ...NETWORK_INPUTS,
  `${NETWORK}DynamicMetadataInput`,
  'envoy.type.matcher.v3.HttpRequestHeaderMatchInput',
  'xds.type.matcher.v3.HttpAttributesCelMatchInput',
])

/** Where a tree stands. */
export type Layer = 'http' | 'network'

function refuseInput(layer: Layer, type: string): string | undefined {
  if ((layer === 'http' ? HTTP_INPUTS : NETWORK_INPUTS).has(type)) return undefined
  const where = layer === 'http' ? 'HTTP filter cannot match on' : 'network filter cannot match'
  return `requirement violation while creating RBAC match tree: RBAC ${where} 'type.googleapis.com/${type}'`
}

const NO_MATCH: Verdict = { allowed: false, policy: undefined, hint: undefined }

/** A tree whose leaves say what is done; what comes to none is denied (source/extensions/filters/common/rbac/engine_impl.cc). */
export class TreeEngine implements RbacEngine {
  private readonly tree: MatchTree<Verdict>

  /** Throws ConfigError. */
  constructor(config: Matcher, layer: Layer, stats: StatsStore | undefined) {
    let logs = false
    const leaves: { name: string; action: number; verdict: Verdict }[] = []
    const tree = compileTree<(typeof leaves)[number]>(config, {
      stats,
      refuseInput: (type) => refuseInput(layer, type),
      action: (message) => {
        if (message.$typeName !== ACTION) throw new ConfigError([`action: '${message.$typeName}' is not supported`])
        const { name, action } = message as Action
        if (action === LOG) logs = true
        const leaf = { name, action, verdict: { allowed: action !== DENY, policy: name, hint: undefined } }
        leaves.push(leaf)
        return leaf
      },
    })
    // If one leaf is for the log, each of them says to it whether it is.
    if (logs) for (const leaf of leaves) leaf.verdict = { ...leaf.verdict, hint: leaf.action === LOG }
    this.tree = (subject) => {
      const leaf = tree(subject)
      return leaf === UNDECIDED ? undefined : leaf?.verdict
    }
  }

  /** Decides. */
  check(subject: Subject): Verdict {
    return (this.tree(subject) as Verdict | undefined) ?? NO_MATCH
  }
}
