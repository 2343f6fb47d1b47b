import type { L4MatchAttributes, TLSMatchAttributes } from '../../api/kinds/virtual-service.ts'
import { hostsOverlap, isWildcard } from '../../registry/host.ts'
import { selects } from '../../registry/labels.ts'
import { NO_ADDRESS, type Port, type Service } from '../../registry/model.ts'
import { isTls } from '../../registry/protocol.ts'
import { statName } from '../cluster/outbound.ts'
import { outboundCluster } from '../names.ts'
import { configMetadata, originAt, originMetadata } from '../provenance.ts'
import { type ProxyNode, wildcardOf } from '../proxy.ts'
import { alternativeNames, NO_PORT, serviceAddress } from '../route/domains.ts'
import type { PushContext } from '../scope/push-context.ts'
import { MESH_GATEWAY, type VirtualServiceConfig } from '../scope/virtual-services.ts'
import type { ChainDraft } from './chain.ts'
import { routeDestinations, singleDestination } from './network-filters.ts'

/** A service's port as a listener for bytes sees it. */
export interface Layer4Options {
  service: Service
  /** The listener's port; that of a Sidecar's entry may differ from the service's. */
  port: Port
  /** The listener's address. */
  bind: string
  /** Ranges of addresses that the chains are for. */
  cidrs: string[]
  virtualServices: readonly VirtualServiceConfig[]
}

/** The chains of a TCP or TLS port: those of VirtualServices, then the service's own (networking/core/tls.go). */
export function layer4Chains(push: PushContext, proxy: ProxyNode, options: Layer4Options): ChainDraft[] {
  const configs = options.virtualServices.filter((config) =>
    config.hosts.some((host) => hostsOverlap(host, options.service.hostname)),
  )
  return isTls(options.port.protocol)
    ? tlsChains(push, proxy, options, configs)
    : tcpChains(push, proxy, options, configs)
}

/** Whether a match is for a client, and a port: what is decided before there is a connection. */
export function applies(match: TLSMatchAttributes | L4MatchAttributes, proxy: ProxyNode, port: number): boolean {
  return (
    (!match.gateways?.length || match.gateways.includes(MESH_GATEWAY)) &&
    selects(match.sourceLabels, proxy.labels) &&
    (!match.port || match.port === port) &&
    (!match.sourceNamespace || match.sourceNamespace === proxy.namespace)
  )
}

function tlsChains(
  push: PushContext,
  proxy: ProxyNode,
  options: Layer4Options,
  configs: readonly VirtualServiceConfig[],
): ChainDraft[] {
  const { port } = options
  const out: ChainDraft[] = []
  const handled = new Set<string>()
  let { cidrs } = options
  for (const config of configs) {
    for (const [index, rule] of config.tls.entries()) {
      if (!rule.route?.length) continue
      for (const match of rule.match) {
        if (!applies(match, proxy, port.port)) continue
        if (match.destinationSubnets?.length && port.port > 0) cidrs = match.destinationSubnets
        // Of matches that differ only in what is decided here, the first counts.
        const key = `${match.sniHosts.join()}|${(match.destinationSubnets ?? []).join()}`
        if (handled.has(key)) continue
        handled.add(key)
        out.push({
          sniHosts: match.sniHosts,
          cidrs,
          metadata: configMetadata(config.object, originAt(config.object, ['spec', 'tls', index])),
          filters: routeDestinations(push, proxy, rule.route, port, `${config.name}.${config.namespace}`),
        })
      }
    }
  }
  return out.length
    ? out
    : [serviceChain(push, proxy, { ...options, cidrs }, sniHosts(push, proxy, { ...options, cidrs }))]
}

// Where the address does not tell which service is meant, the name must.
function sniHosts(push: PushContext, proxy: ProxyNode, { service, cidrs, bind }: Layer4Options): string[] {
  const wildcard = wildcardOf(proxy)
  let address = serviceAddress(service, proxy)
  if (address.includes('/')) address = ''
  if (service.registry === 'External' && wildcard === '::' && address === NO_ADDRESS) address = wildcard
  const ambiguous = cidrs.length > 0 || address === '' || (address === wildcard && bind === wildcard)
  if (!ambiguous && !(isWildcard(service.hostname) && service.resolution === 'DYNAMIC_DNS')) return []
  const aliases = service.aliases.flatMap(({ hostname }) => [
    hostname,
    ...alternativeNames(hostname, NO_PORT, proxy.dnsDomain, push.env),
  ])
  return [service.hostname, ...aliases]
}

function tcpChains(
  push: PushContext,
  proxy: ProxyNode,
  options: Layer4Options,
  configs: readonly VirtualServiceConfig[],
): ChainDraft[] {
  const { port, cidrs } = options
  const out: ChainDraft[] = []
  let covered = false
  for (const config of configs) {
    for (const [index, rule] of config.tcp.entries()) {
      if (!rule.route?.length) continue
      const origin = originAt(config.object, ['spec', 'tcp', index])
      const chain = (ranges: string[]): ChainDraft => ({
        cidrs: ranges,
        // istiod says nothing of the VirtualService where subnets decide.
        metadata: ranges === cidrs ? configMetadata(config.object, origin) : originMetadata(origin),
        filters: routeDestinations(push, proxy, rule.route ?? [], port, `${config.name}.${config.namespace}`),
      })
      const matches = (rule.match ?? []).filter((match) => applies(match, proxy, port.port))
      const all = !rule.match?.length || matches.some((match) => !match.destinationSubnets?.length || port.port === 0)
      // A rule without conditions on the connection ends the list.
      if (all) return [...out, chain(cidrs)]
      const subnets = matches.flatMap((match) => match.destinationSubnets ?? [])
      if (subnets.length === 0) continue
      out.push(chain(subnets))
      covered ||= [...subnets].sort().join() === [...cidrs].sort().join()
    }
  }
  return covered ? out : [...out, serviceChain(push, proxy, options, [])]
}

function serviceChain(push: PushContext, proxy: ProxyNode, options: Layer4Options, names: string[]): ChainDraft {
  const { service, port } = options
  const only = service.ports.length === 1 ? service.ports[0]?.port : undefined
  const number = only ?? port.port
  const cluster = outboundCluster(service.hostname, number)
  const pattern = push.mesh.outboundClusterStatName
  const known = push.scopeOf(proxy).byHostname.get(service.hostname)
  return {
    sniHosts: names,
    cidrs: options.cidrs,
    metadata: originMetadata(service.origin),
    filters: singleDestination(push, proxy, {
      cluster,
      statPrefix: pattern ? statName(pattern, service, { ...port, name: '', port: number }, '') : cluster,
      subset: '',
      port,
      rule: known && push.ruleFor(proxy, known),
      dynamicDns:
        isWildcard(service.hostname) && service.resolution === 'DYNAMIC_DNS' && isTls(port.protocol)
          ? service
          : undefined,
    }),
  }
}
