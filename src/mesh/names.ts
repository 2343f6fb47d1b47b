import dns from 'node:dns/promises'
import net from 'node:net'
import { isFit, NO_ADDRESS, type Service } from '../registry/model.ts'
import type { Registry } from '../registry/registry.ts'

/** A name that means nothing where it was asked. */
export class UnknownHostError extends Error {}

/**
 * The address that a program in a pod of `namespace` gets for a name: what the cluster's resolver and the
 * search list of /etc/resolv.conf (`<ns>.svc.<domain> svc.<domain> <domain>`, ndots 5) would give. Headless
 * services give one of their pods, ExternalName what they stand for; a name that no service has is asked of
 * the machine's own resolver. Rejects with UnknownHostError.
 */
export async function resolveName(
  registry: Registry,
  domain: string,
  namespace: string,
  host: string,
): Promise<string> {
  if (net.isIP(host)) return host
  if (host === 'localhost') return '127.0.0.1'
  const found = inMesh(registry, domain, namespace, host, 0)
  if (found) return found
  try {
    return (await dns.lookup(host, { family: 4 })).address
  } catch {
    throw new UnknownHostError(`could not resolve host: ${host}`)
  }
}

/**
 * The service, and the address of it, that a program in a pod of `namespace` means by a name; undefined for a name that
 * no service has. Without an address where an ExternalName leads out of the mesh.
 */
export function kubernetesService(
  registry: Registry,
  domain: string,
  namespace: string,
  host: string,
): { service: Service; address: string | undefined } | undefined {
  for (const candidate of candidates(host, namespace, domain)) {
    const services = [...(registry.byHostname(candidate)?.values() ?? [])]
    const service = services.find((known) => known.registry === 'Kubernetes')
    if (service) return { service, address: addressOf(registry, domain, service, 0) }
  }
  return undefined
}

/** A name with the search list of a pod's resolver. */
function candidates(host: string, namespace: string, domain: string): string[] {
  const name = host.toLowerCase()
  const absolute = name.endsWith('.')
  const bare = absolute ? name.slice(0, -1) : name
  const search = absolute ? [] : [`${bare}.${namespace}.svc.${domain}`, `${bare}.svc.${domain}`, `${bare}.${domain}`]
  return [...search, bare]
}

function inMesh(
  registry: Registry,
  domain: string,
  namespace: string,
  host: string,
  depth: number,
): string | undefined {
  for (const candidate of candidates(host, namespace, domain)) {
    const services = registry.byHostname(candidate)
    const service = services?.get(namespace) ?? services?.values().next().value
    const address = service ? addressOf(registry, domain, service, depth) : podOfHeadless(registry, candidate)
    if (address) return address
  }
  return undefined
}

function addressOf(registry: Registry, domain: string, service: Service, depth: number): string | undefined {
  if (service.externalName !== undefined && depth < 8)
    return inMesh(registry, domain, service.namespace, `${service.externalName.replace(/\.$/, '')}.`, depth + 1)
  if (service.address !== NO_ADDRESS && net.isIP(service.address)) return service.address
  if (service.autoAddress) return service.autoAddress
  return registry.endpoints(service).find((e) => isFit(e) && net.isIP(e.address))?.address
}

/** `<pod>.<service>.<ns>.svc.<domain>`: one pod of a headless service. */
function podOfHeadless(registry: Registry, host: string): string | undefined {
  const dot = host.indexOf('.')
  if (dot < 0) return undefined
  const services = registry.byHostname(host.slice(dot + 1))
  for (const service of services?.values() ?? []) {
    if (service.address !== NO_ADDRESS) continue
    const pod = registry.workload(service.namespace, host.slice(0, dot))
    if (pod && registry.endpoints(service).some((e) => e.address === pod.ip)) return pod.ip
  }
  return undefined
}
