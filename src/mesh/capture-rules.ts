import { IpRanges, isLoopback } from '../proxy/http/addresses.ts'
import { parseCidr } from '../proxy/listener/cidr.ts'

/** How a pod's traffic comes to its sidecar. */
export type InterceptionMode = 'REDIRECT' | 'TPROXY' | 'NONE'

const PREFIX = 'traffic.sidecar.istio.io/'

/**
 * Which connections of a pod its sidecar gets: what the injector's iptables rules would redirect
 * (tools/istio-iptables/pkg/capture/run.go).
 */
export class CaptureRules {
  readonly #mode: InterceptionMode
  readonly #inbound: PortRule
  readonly #excludedOutbound: ReadonlySet<number>
  readonly #includedOutbound: ReadonlySet<number>
  /** Undefined: all. */
  readonly #ranges: IpRanges | undefined
  readonly #excludedRanges: IpRanges
  readonly #ip: string

  /** `ip`: the pod's own. `complain` is told of what cannot be read. */
  constructor(
    mode: InterceptionMode,
    annotations: Readonly<Record<string, string>>,
    ip: string,
    complain: (message: string) => void = () => {},
  ) {
    const read = (name: string) => annotations[`${PREFIX}${name}`]
    this.#mode = mode
    this.#ip = ip
    this.#inbound = portRule(read('includeInboundPorts') ?? '*', read('excludeInboundPorts') ?? '')
    this.#excludedOutbound = new Set(ports(read('excludeOutboundPorts') ?? ''))
    this.#includedOutbound = new Set(ports(read('includeOutboundPorts') ?? ''))
    const included = read('includeOutboundIPRanges') ?? '*'
    this.#ranges = included.trim() === '*' ? undefined : blocks(included, complain)
    this.#excludedRanges = blocks(read('excludeOutboundIPRanges') ?? '', complain)
  }

  /** Whether connections to this port of the pod come to the sidecar. */
  inbound(port: number): boolean {
    if (this.#mode === 'NONE') return false
    const { all, listed } = this.#inbound
    return listed.has(port) !== all
  }

  /** Whether connections of the pod's programs to there come to the sidecar. */
  outbound({ ip, port }: { readonly ip: string; readonly port: number }): boolean {
    if (this.#mode === 'NONE' || this.#excludedOutbound.has(port)) return false
    if (isLoopback(ip) || ip === this.#ip || this.#excludedRanges.has(ip)) return false
    return this.#includedOutbound.has(port) || this.#ranges === undefined || this.#ranges.has(ip)
  }
}

/** All ports but those listed, or those alone. */
interface PortRule {
  readonly all: boolean
  readonly listed: ReadonlySet<number>
}

function portRule(included: string, excluded: string): PortRule {
  // What is left out counts only where everything is taken.
  return included.trim() === '*'
    ? { all: true, listed: new Set(ports(excluded)) }
    : { all: false, listed: new Set(ports(included)) }
}

function ports(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const port = Number(part.trim())
    return Number.isInteger(port) && port > 0 ? [port] : []
  })
}

function blocks(text: string, complain: (message: string) => void): IpRanges {
  const found = text.split(',').flatMap((part) => {
    const written = part.trim()
    if (written === '') return []
    const [prefix = '', bits = '128'] = written.split('/')
    const block = /^\d+$/.test(bits) ? parseCidr(prefix, Number(bits)) : undefined
    if (block === undefined) complain(`"${written}" in its annotations is no block of addresses, and has no effect`)
    return block ?? []
  })
  return new IpRanges(found)
}
