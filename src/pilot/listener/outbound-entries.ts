import net from 'node:net'
import { isWildcard } from '../../registry/host.ts'
import { NO_ADDRESS, type Port, type Service } from '../../registry/model.ts'
import { isHttp, isTcp, listenerProtocol, type Protocol, parseProtocol } from '../../registry/protocol.ts'
import { dnsCacheName } from '../cluster/dynamic-dns.ts'
import { localhostOf, type ProxyNode, wildcardOf } from '../proxy.ts'
import { serviceAddress } from '../route/domains.ts'
import type { PushContext } from '../scope/push-context.ts'
import type { EgressScope } from '../scope/sidecar-scope.ts'
import { type ChainDraft, plaintextAlpn, sameConditions } from './chain.ts'
import { layer4Chains } from './layer4-chains.ts'

/** An outbound listener while services are being put on it. */
export interface ListenerEntry {
  bind: string
  bindToPort: boolean
  port: Port
  chains: ChainDraft[]
  protocol: Protocol
  /** Made by a Sidecar's entry for a port: what comes later may not add to it. */
  locked: boolean
}

interface Placement {
  service: Service
  port: Port
  /** '' leaves it to the service. */
  bind: string
  bindToPort: boolean
}

/** Puts the services that a proxy sees on listeners (networking/core/listener.go buildSidecarOutboundListeners). */
export function outboundEntries(push: PushContext, proxy: ProxyNode): ListenerEntry[] {
  const entries = new Map<string, ListenerEntry>()
  for (const egress of push.scopeOf(proxy).egress) new EntryBuilder(push, proxy, egress, entries).run()
  return [...entries.values()]
}

class EntryBuilder {
  readonly #push: PushContext
  readonly #proxy: ProxyNode
  readonly #egress: EgressScope
  readonly #entries: Map<string, ListenerEntry>
  readonly #wildcard: string
  readonly #alpn: string[]

  constructor(push: PushContext, proxy: ProxyNode, egress: EgressScope, entries: Map<string, ListenerEntry>) {
    this.#push = push
    this.#proxy = proxy
    this.#egress = egress
    this.#entries = entries
    this.#wildcard = wildcardOf(proxy)
    this.#alpn = plaintextAlpn(push.env.http10)
  }

  run(): void {
    const { listener, services } = this.#egress
    const own = listener?.bind ?? ''
    const bindToPort =
      this.#proxy.interception === 'NONE' || listener?.captureMode === 'NONE' || own.startsWith('unix://')
    const bind = own || (bindToPort ? localhostOf(this.#proxy) : '')
    if (listener?.port) {
      const { number = 0, name = '', protocol } = listener.port
      const port = { port: number, name, protocol: parseProtocol(protocol) }
      if (!this.#canBind(bind, bindToPort, port)) return
      for (const service of services) this.#place({ service, port, bind, bindToPort })
      return
    }
    for (const entry of this.#entries.values()) entry.locked = true
    for (const service of services) {
      for (const port of service.ports) {
        if (this.#canBind(bind, bindToPort, port)) this.#placeService({ service, port, bind, bindToPort })
      }
    }
  }

  /** A wildcard listener must not take the ports of the proxy itself. */
  #canBind(bind: string, bindToPort: boolean, { port, protocol }: Port): boolean {
    const { proxyListenPort, proxyInboundListenPort } = this.#push.mesh
    if (bindToPort && this.#proxy.unprivileged && port > 0 && port < 1024) return false
    if (bind === '' ? !isHttp(protocol) : bind !== this.#wildcard) return true
    return ![this.#proxy.statusPort, this.#proxy.prometheusPort, proxyListenPort, proxyInboundListenPort].includes(port)
  }

  #placeService(placement: Placement): void {
    const { service, port, bind } = placement
    const address = serviceAddress(service, this.#proxy)
    const sniffedOrTcp = isTcp(port.protocol) || port.protocol === 'AUTO'
    if (bind !== '' || service.resolution !== 'PASSTHROUGH' || address !== NO_ADDRESS || !sniffedOrTcp) {
      this.#place(placement)
      return
    }
    // A headless service has as many addresses as endpoints: a listener each, but for the proxy's own.
    const endpoints = this.#push.registry.endpointsOfPort(service, port.port)
    if (endpoints.length === 0 && service.registry === 'External' && !service.selector) {
      this.#place(placement)
      return
    }
    for (const { address: ip } of endpoints) {
      if (net.isIP(ip) !== 0 && ip !== this.#proxy.ips[0]) this.#place({ ...placement, bind: ip })
    }
  }

  #place(placement: Placement): void {
    const { service, port } = placement
    if (service.resolution === 'ALIAS') return
    const kind = listenerProtocol(port.protocol)
    if (kind === 'udp') return
    const { bind, cidrs } = this.#bindFor(placement, kind)
    const key = `${bind} ${port.port}`
    const current = this.#entries.get(key)
    if (current?.locked) return
    const layer4 = (): ChainDraft[] =>
      layer4Chains(this.#push, this.#proxy, {
        service,
        port,
        bind,
        cidrs,
        virtualServices: this.#egress.virtualServices,
      })
    let chains: ChainDraft[]
    let protocol = port.protocol
    if (port.protocol === 'HTTP_PROXY' || kind === 'http') {
      if (port.protocol !== 'HTTP_PROXY' && current && !isTcp(current.protocol)) return
      chains = [this.#httpChain(service, port, bind, kind)]
      if (port.protocol !== 'HTTP_PROXY' && bind === this.#wildcard) {
        // Other traffic of the port falls through: so the listener counts as sniffed.
        chains = chains.map((chain) => ({ ...chain, alpn: this.#alpn, transport: 'raw_buffer' }))
        protocol = 'AUTO'
      }
    } else if (kind === 'tcp') {
      chains = layer4()
    } else {
      chains = layer4()
      const replaces = !current || isHttp(current.protocol) || isTcp(current.protocol)
      if (replaces) {
        const http = this.#httpChain(service, port, bind, kind)
        chains.push({ ...http, alpn: this.#alpn, transport: 'raw_buffer' })
      }
    }
    this.#settle(key, { bind, bindToPort: placement.bindToPort, port, chains, protocol, locked: false }, current)
  }

  /** Adds to what is on the port already, or takes its place. */
  #settle(key: string, entry: ListenerEntry, current: ListenerEntry | undefined): void {
    const { protocol: own } = entry.port
    if (!current || own === 'HTTP_PROXY' || (own === 'AUTO' && isHttp(current.protocol))) {
      this.#entries.set(key, entry)
      return
    }
    // With these protocols the server speaks first: there is nothing to sniff.
    const serverFirst = (protocol: Protocol): boolean => protocol === 'Mongo' || protocol === 'MySQL'
    const incoming = entry.port.protocol
    if (incoming !== current.protocol && (serverFirst(incoming) || serverFirst(current.protocol))) return
    const bothTcp = isTcp(incoming) && isTcp(current.protocol)
    for (const chain of entry.chains) {
      if (!current.chains.some((known) => sameConditions(known, chain))) current.chains.push(chain)
    }
    if (!bothTcp) current.protocol = 'AUTO'
  }

  #bindFor({ service, bind }: Placement, kind: 'http' | 'tcp' | 'auto'): { bind: string; cidrs: string[] } {
    if (bind !== '') return { bind, cidrs: [] }
    if (kind === 'http') return { bind: this.#wildcard, cidrs: [] }
    const address = serviceAddress(service, this.#proxy)
    if (address.includes('/')) return { bind: this.#wildcard, cidrs: [address] }
    return { bind: service.registry === 'External' && address === NO_ADDRESS ? this.#wildcard : address, cidrs: [] }
  }

  #httpChain(service: Service, port: Port, bind: string, kind: 'http' | 'tcp' | 'auto'): ChainDraft {
    // A sniffed service with an address of its own has its own routes; others share those of the port.
    const rds =
      port.port === 0
        ? bind
        : kind === 'auto' && bind !== this.#wildcard
          ? `${service.hostname}:${port.port}`
          : String(port.port)
    const dynamic = isWildcard(service.hostname) && service.resolution === 'DYNAMIC_DNS'
    return {
      http: {
        side: 'outbound',
        routes: { rds },
        protocol: port.protocol,
        dynamicDnsCache: dynamic ? dnsCacheName(service.hostname) : undefined,
      },
    }
  }
}
