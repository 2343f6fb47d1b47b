import net from 'node:net'
import { NO_ADDRESS, type Service } from '../../registry/model.ts'
import type { PilotEnv } from '../env.ts'
import { bracketed, hostPort } from '../names.ts'
import type { ProxyNode } from '../proxy.ts'

/** The domains of a virtual host, and those of them that only abbreviate a name. */
export interface Domains {
  domains: string[]
  abbreviations: string[]
}

/** Without port: route configurations that ignore the port in Host headers. */
export const NO_PORT = 0

/**
 * Every name by which a client of a proxy's namespace may call a service, with its aliases and addresses; with `port`
 * each also as `name:port` (networking/core/httproute.go generateVirtualHostDomains).
 */
export function serviceDomains(service: Service, port: number, proxy: ProxyNode, env: PilotEnv): Domains {
  const domains: string[] = []
  const abbreviations: string[] = []
  for (const name of [service.hostname, ...service.aliases.map((alias) => alias.hostname)]) {
    const alternatives = alternativeNames(name, port, proxy.dnsDomain, env)
    addName(domains, name, port)
    domains.push(...alternatives)
    abbreviations.push(...alternatives)
  }
  if (service.resolution === 'PASSTHROUGH' && service.registry === 'Kubernetes') {
    domains.push(...domains.map((domain) => `*.${domain}`))
  }
  for (const address of serviceAddresses(service, proxy)) {
    if (address !== '' && address !== NO_ADDRESS) addName(domains, address, port)
  }
  return { domains, abbreviations }
}

/** The address on which a proxy listens for a service (pilot/pkg/model/service.go GetAddressForProxy). */
export function serviceAddress(service: Service, proxy: ProxyNode): string {
  return service.address === NO_ADDRESS && service.autoAddress && proxy.dnsCapture
    ? service.autoAddress
    : service.address
}

function serviceAddresses(service: Service, proxy: ProxyNode): string[] {
  return service.autoAddress && proxy.dnsCapture ? [service.autoAddress] : [service.address]
}

function addName(domains: string[], name: string, port: number): void {
  domains.push(bracketed(name))
  if (port !== NO_PORT) domains.push(hostPort(name, port))
}

/** Other forms of a name: with a trailing dot, and the short forms of Kubernetes names under the proxy's own suffix. */
export function alternativeNames(name: string, port: number, dnsDomain: string, env: PilotEnv): string[] {
  const out: string[] = []
  if (env.absoluteFqdnDomains) {
    if (net.isIP(name) === 0) out.push(`${name}.`)
    if (port !== NO_PORT) out.push(hostPort(`${name}.`, port))
  }
  const at = dnsDomain.indexOf('.svc.')
  if (at < 0) return [...out, ...sharedSuffixNames(name, port, dnsDomain)]
  if (!name.endsWith(dnsDomain.slice(at))) return out
  return [...out, ...kubernetesNames(name, port, dnsDomain.slice(0, at))]
}

function kubernetesNames(name: string, port: number, ownNamespace: string): string[] {
  const svc = name.indexOf('.svc.')
  const dot = name.indexOf('.')
  if (svc <= 0 || dot + 1 > svc) return []
  const withNamespace = name.slice(0, svc)
  const same = name.slice(dot + 1, svc) === ownNamespace
  const forms = same
    ? [name.slice(0, dot), `${withNamespace}.svc`, withNamespace]
    : [withNamespace, `${withNamespace}.svc`]
  return port === NO_PORT ? forms : forms.flatMap((form) => [form, hostPort(form, port)])
}

// Outside Kubernetes: what name and domain do not share, from the end.
function sharedSuffixNames(name: string, port: number, domain: string): string[] {
  const parts = name.split('.')
  const suffix = domain.split('.')
  let shared = 0
  while (shared < Math.min(parts.length, suffix.length) && parts.at(-1 - shared) === suffix.at(-1 - shared)) shared++
  if (shared === 0) return []
  const unique = parts.slice(0, parts.length - shared)
  const out: string[] = []
  addName(out, unique.join('.'), port)
  if (unique.length === 2) addName(out, `${unique.join('.')}.${parts[unique.length]}`, port)
  return out
}
