import { listenerProtocol } from '../../../registry/protocol.ts'
import type { Analyzer } from '../analyzer.ts'
import type { AnalysisContext } from '../context.ts'
import { ALLOW_ON_TCP, DENY_ON_TCP, PORT_OF_SERVICE } from './catalogue.ts'
import { actionOf, httpFields, type Policy, portsOf, valuesOf } from './rules.ts'

/** Policies and what workloads listen on: HTTP fields on TCP ports, and ports of Services. */
export const layer4: Analyzer = {
  name: 'dinghy.PortAnalyzer',
  description:
    'Finds HTTP fields of policies that bind TCP ports, and ports of Services where those of workloads count',
  types: [DENY_ON_TCP, ALLOW_ON_TCP, PORT_OF_SERVICE],
  analyze(context) {
    const policies = context.push.snapshot.list('AuthorizationPolicy')
    for (const policy of policies) {
      denied(context, policy)
      servicePorts(context, policy)
    }
    allowed(context, policies)
    for (const authentication of context.push.snapshot.list('PeerAuthentication'))
      for (const port of Object.keys(authentication.spec.portLevelMtls ?? {})) {
        const targets = targetsOfServicePort(context, authentication, port)
        if (targets) context.report(PORT_OF_SERVICE, authentication, ['spec', 'portLevelMtls', port], port, targets)
      }
  },
}

/** The ports of the workload on which nothing but TCP is spoken. */
function tcpPorts(context: AnalysisContext, workload: AnalysisContext['meshed'][number]): string[] {
  const { targets } = context.proxyOf(workload)
  return targets.flatMap(({ port, targetPort }) =>
    !workload.gateway && port.protocol !== 'UDP' && listenerProtocol(port.protocol) === 'tcp'
      ? [String(targetPort)]
      : [],
  )
}

function denied(context: AnalysisContext, policy: Policy): void {
  if (actionOf(policy) !== 'DENY') return
  const ports = [...new Set(context.boundBy(policy).flatMap((workload) => tcpPorts(context, workload)))]
  for (const [i, rule] of (policy.spec.rules ?? []).entries()) {
    const fields = httpFields(rule)
    const limit = portsOf(rule)
    const struck = ports.filter((port) => limit?.has(port) ?? true)
    if (fields.length === 0 || struck.length === 0) continue
    const all = valuesOf({ ...policy, spec: { rules: [rule] } }).every(
      ({ field }) => fields.includes(field) || field === 'ports' || field === 'destination.port',
    )
    const rest = all ? 'every connection' : 'every connection that the rest of it takes'
    context.report(DENY_ON_TCP, policy, ['spec', 'rules', i], fields, struck, rest)
  }
}

function allowed(context: AnalysisContext, policies: readonly Policy[]): void {
  const allowing = policies.filter((policy) => actionOf(policy) === 'ALLOW')
  const bound = new Map(allowing.map((policy) => [policy, new Set(context.boundBy(policy))]))
  const refused = new Map<Policy, Set<string>>()
  for (const workload of context.meshed) {
    const own = allowing.filter((policy) => bound.get(policy)?.has(workload))
    for (const port of tcpPorts(context, workload)) {
      const rules = own.flatMap(({ spec }) => spec.rules ?? []).filter((rule) => portsOf(rule)?.has(port) ?? true)
      if (rules.some((rule) => httpFields(rule).length === 0)) continue
      const first = own.find(({ spec }) =>
        spec.rules?.some((rule) => httpFields(rule).length > 0 && (portsOf(rule)?.has(port) ?? true)),
      )
      if (first) refused.set(first, (refused.get(first) ?? new Set<string>()).add(port))
    }
  }
  for (const [policy, ports] of refused) {
    const index = (policy.spec.rules ?? []).findIndex((rule) => httpFields(rule).length > 0)
    const fields = (policy.spec.rules ?? []).flatMap(httpFields)
    context.report(ALLOW_ON_TCP, policy, ['spec', 'rules', index], [...new Set(fields)], [...ports])
  }
}

function servicePorts(context: AnalysisContext, policy: Policy): void {
  for (const { field, values, path } of valuesOf(policy)) {
    if (field !== 'ports' && field !== 'notPorts' && field !== 'destination.port') continue
    for (const [i, port] of values.entries()) {
      const targets = targetsOfServicePort(context, policy, port)
      if (targets) context.report(PORT_OF_SERVICE, policy, [...path, i], port, targets)
    }
  }
}

/** Where workloads listen for a port of their Services; undefined when it is one of theirs, or of nobody. */
function targetsOfServicePort(
  context: AnalysisContext,
  policy: Parameters<AnalysisContext['boundBy']>[0],
  port: string,
): string[] | undefined {
  const number = Number(port)
  const bound = context.boundBy(policy)
  const targets = bound.flatMap((workload) => context.proxyOf(workload).targets)
  if (targets.some(({ targetPort }) => targetPort === number)) return undefined
  if (bound.some(({ containerPorts }) => containerPorts.some((known) => known.port === number))) return undefined
  const meant = targets.filter((target) => target.port.port === number).map(({ targetPort }) => String(targetPort))
  return meant.length > 0 ? [...new Set(meant)] : undefined
}
