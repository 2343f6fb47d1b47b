import { hostsOverlap, hostWithin, isWildcard } from '../../registry/host.ts'
import type { Service } from '../../registry/model.ts'
import type { VirtualServiceConfig } from './virtual-services.ts'

/** Hosts of one namespace that an egress entry imports, and those that it leaves out. */
interface HostClass {
  exact: Set<string>
  all: string[]
  excluded: string[]
}

const ANY = '*'

/** The `hosts` of a Sidecar's egress entry (pilot/pkg/model/sidecar.go hostClassification). */
export class EgressHosts {
  readonly #byNamespace = new Map<string, HostClass>()

  /** `namespace/host`, `./host`, `*`/host, and `~namespace/host` for what is left out. */
  constructor(hosts: readonly string[], ownNamespace: string) {
    for (const entry of hosts) {
      const [written = '', host] = entry.split('/')
      if (host === undefined) continue
      const excluded = written.startsWith('~')
      let namespace = excluded ? written.slice(1) || ANY : written
      if (namespace === '.') namespace = ownNamespace
      const known = this.#byNamespace.get(namespace) ?? { exact: new Set(), all: [], excluded: [] }
      this.#byNamespace.set(namespace, known)
      if (excluded) {
        known.excluded.push(host)
        continue
      }
      if (!isWildcard(host)) known.exact.add(host)
      known.all.push(host)
    }
  }

  /** Whether the host of a namespace is left out. */
  #excludes(namespace: string, host: string): boolean {
    return [namespace, ANY].some((key) => this.#byNamespace.get(key)?.excluded.some((item) => hostWithin(host, item)))
  }

  /** The service as it is imported: whole, or with fewer aliases; undefined when it is not. */
  importService(service: Service): Service | undefined {
    if (this.#excludes(service.namespace, service.hostname)) return undefined
    for (const key of [service.namespace, ANY]) {
      const known = this.#byNamespace.get(key)
      if (!known || !importsService(known, service.hostname)) continue
      const aliases = service.aliases.filter((alias) => importsService(known, alias.hostname))
      return aliases.length === service.aliases.length ? service : { ...service, aliases }
    }
    return undefined
  }

  /** Whether a VirtualService is imported, by any of its hosts. */
  importsVirtualService(config: VirtualServiceConfig): boolean {
    return [config.namespace, ANY].some((key) => {
      const known = this.#byNamespace.get(key)
      return known && config.hosts.some((host) => overlaps(known, host) && !this.#excludes(config.namespace, host))
    })
  }
}

function importsService(known: HostClass, hostname: string): boolean {
  if (known.exact.has(hostname)) return true
  return known.all.some((host) => (isWildcard(hostname) || isWildcard(host)) && hostWithin(hostname, host))
}

function overlaps(known: HostClass, hostname: string): boolean {
  if (known.exact.has(hostname)) return true
  return known.all.some((host) => (isWildcard(hostname) || isWildcard(host)) && hostsOverlap(hostname, host))
}
