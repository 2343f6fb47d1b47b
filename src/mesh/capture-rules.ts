import net from 'node:net'

/** How a pod's traffic comes to its sidecar. */
export type InterceptionMode = 'REDIRECT' | 'TPROXY' | 'NONE'

const PREFIX = 'traffic.sidecar.istio.io/'

/**
 * Which connections of a pod its sidecar gets: what the injector's iptables rules would redirect
 * (tools/istio-iptables/pkg/capture/run.go).
 */
export class CaptureRules {
  readonly mode: InterceptionMode
  readonly #inbound: PortRule
  readonly #excludedOutbound: ReadonlySet<number>
  readonly #includedOutbound: ReadonlySet<number>
  /** Undefined: all. */
  readonly #ranges: net.BlockList | undefined
  readonly #excludedRanges: net.BlockList
  readonly #ip: string

  /** `ip`: the pod's own. */
  constructor(mode: InterceptionMode, annotations: Readonly<Record<string, string>>, ip: string) {
    const read = (name: string) => annotations[`${PREFIX}${name}`]
    this.mode = mode
    this.#ip = ip
    this.#inbound = portRule(read('includeInboundPorts') ?? '*', read('excludeInboundPorts') ?? '')
    this.#excludedOutbound = new Set(ports(read('excludeOutboundPorts') ?? ''))
    this.#includedOutbound = new Set(ports(read('includeOutboundPorts') ?? ''))
    const included = read('includeOutboundIPRanges') ?? '*'
    this.#ranges = included.trim() === '*' ? undefined : blockList(included)
    this.#excludedRanges = blockList(read('excludeOutboundIPRanges') ?? '')
  }

  /** Whether connections to this port of the pod come to the sidecar. */
  inbound(port: number): boolean {
    if (this.mode === 'NONE') return false
    const { all, listed } = this.#inbound
    return listed.has(port) !== all
  }

  /** Whether connections of the pod's programs to there come to the sidecar. */
  outbound({ ip, port }: { readonly ip: string; readonly port: number }): boolean {
    if (this.mode === 'NONE' || this.#excludedOutbound.has(port)) return false
    if (isLoopback(ip) || ip === this.#ip || contains(this.#excludedRanges, ip)) return false
    return this.#includedOutbound.has(port) || this.#ranges === undefined || contains(this.#ranges, ip)
  }

  /** Nothing differs from the ordinary pod. */
  get ordinary(): boolean {
    return (
      this.mode !== 'NONE' &&
      this.#inbound.all &&
      this.#inbound.listed.size === 0 &&
      this.#excludedOutbound.size === 0 &&
      this.#ranges === undefined
    )
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

function blockList(text: string): net.BlockList {
  const list = new net.BlockList()
  for (const part of text.split(',')) {
    const [address = '', bits] = part.trim().split('/')
    const family = net.isIP(address)
    if (family === 0) continue
    const type = family === 4 ? 'ipv4' : 'ipv6'
    if (bits === undefined) list.addAddress(address, type)
    else list.addSubnet(address, Number(bits), type)
  }
  return list
}

function contains(list: net.BlockList, ip: string): boolean {
  const family = net.isIP(ip)
  return family !== 0 && list.check(ip, family === 4 ? 'ipv4' : 'ipv6')
}

/** Whether an address is the machine's own, wherever it is asked. */
export function isLoopback(ip: string): boolean {
  return ip.startsWith('127.') || ip === '::1'
}
