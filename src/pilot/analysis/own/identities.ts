import { trustDomains } from '../../authn/tls.ts'
import { modeForPort } from '../../scope/peer-authentication.ts'
import type { Analyzer } from '../analyzer.ts'
import type { AnalysisContext } from '../context.ts'
import {
  FORWARDED_ADDRESS_BELIEVED,
  PLAINTEXT_HAS_NO_IDENTITY,
  PRINCIPAL_OF_OTHER_DOMAIN,
  PRINCIPAL_WITH_SCHEME,
} from './catalogue.ts'
import { actionOf, isOpenEnded, type Policy, portsOf, type Values, valuesOf } from './rules.ts'

const IDENTITY =
  /^(?:(?:not)?(?:principals|namespaces|serviceAccounts|trustDomains)|source\.(?:principal|namespace|serviceAccount|trustDomain))$/i
const PRINCIPAL = /^(?:(?:not)?principals|source\.principal)$/i
const REMOTE = /^(?:(?:not)?remoteIpBlocks|remote\.ip)$/i

/** How many ports are shown. */
const MAX_PORTS = 4

/** Who the caller is: principals that nobody has, callers that have none, addresses that the caller writes itself. */
export const identities: Analyzer = {
  name: 'dinghy.IdentityAnalyzer',
  description:
    'Finds principals that no caller has, rules that plaintext gets past, and addresses that callers can forge',
  types: [PRINCIPAL_WITH_SCHEME, PRINCIPAL_OF_OTHER_DOMAIN, PLAINTEXT_HAS_NO_IDENTITY, FORWARDED_ADDRESS_BELIEVED],
  analyze(context) {
    for (const policy of context.push.snapshot.list('AuthorizationPolicy'))
      for (const list of valuesOf(policy)) {
        if (PRINCIPAL.test(list.field)) principals(context, policy, list)
        if (IDENTITY.test(list.field)) plaintext(context, policy, list)
        if (REMOTE.test(list.field)) forwarded(context, policy, list)
      }
  },
}

function principals(context: AnalysisContext, policy: Policy, { values, path }: Values): void {
  // `cluster.local` always stands for the mesh's own domain.
  const known = [...trustDomains(context.push.mesh), 'cluster.local']
  for (const [i, principal] of values.entries()) {
    if (principal.startsWith('spiffe://')) context.report(PRINCIPAL_WITH_SCHEME, policy, [...path, i], principal)
    else {
      const domain = /^([^/*]+)\/ns\//.exec(principal)?.[1]
      if (domain !== undefined && !known.includes(domain))
        context.report(PRINCIPAL_OF_OTHER_DOMAIN, policy, [...path, i], principal, trustDomains(context.push.mesh))
    }
  }
}

/** Ports of the bound workloads that take plaintext, as `reviews:9080 (PERMISSIVE)`. */
function plaintext(context: AnalysisContext, policy: Policy, list: Values): void {
  if (!isOpenEnded(policy, list)) return
  const limit = portsOf(list.rule)
  const open = new Set<string>()
  for (const workload of context.boundBy(policy)) {
    if (workload.gateway) continue
    const mtls = context.push.peerAuthentications.forWorkload(workload.namespace, workload.labels)
    for (const { targetPort } of context.proxyOf(workload).targets) {
      const mode = modeForPort(mtls, targetPort)
      if (mode === 'STRICT' || limit?.has(String(targetPort)) === false) continue
      open.add(`${workload.workloadName}.${workload.namespace}:${targetPort} (${mode})`)
    }
  }
  if (open.size === 0) return
  const shown = [...open].slice(0, MAX_PORTS)
  if (open.size > MAX_PORTS) shown.push(`… ${open.size - MAX_PORTS} more`)
  const verb = actionOf(policy) === 'DENY' ? 'refused' : 'allowed'
  context.report(PLAINTEXT_HAS_NO_IDENTITY, policy, list.path, list.field, verb, shown)
}

function forwarded(context: AnalysisContext, policy: Policy, { field, path }: Values): void {
  const bound = context.boundBy(policy)
  const sidecar = bound.find(({ gateway }) => !gateway)
  const where = sidecar
    ? `a sidecar such as that of ${sidecar.workloadName}.${sidecar.namespace} takes from whoever calls it`
    : bound.length > 0 && trusted(context) > 0
      ? `a client that comes to the gateway past the ${trusted(context)} proxies in front can write itself`
      : undefined
  if (where) context.report(FORWARDED_ADDRESS_BELIEVED, policy, path, field, where)
}

const trusted = ({ push }: AnalysisContext): number => push.mesh.defaultConfig.gatewayTopology?.numTrustedProxies ?? 0
