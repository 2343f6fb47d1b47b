import type { CidrRange } from '#gen/envoy/config/core/v3/address_pb.js'
import type { FilterChainMatch } from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import { writeJson } from '../../xds/json.ts'
import { CidrMap, type IpWords, parseCidr, parseIp } from './cidr.ts'
import type { Address } from './connection.ts'

/** What is known of a connection when its filter chain is chosen. */
export interface MatchInput {
  readonly local: Address
  readonly remote: Address
  readonly directRemote: Address
  /** Lower case; empty when none was seen. */
  readonly sni: string
  /** `tls` or `raw_buffer`. */
  readonly transportProtocol: string
  readonly applicationProtocols: readonly string[]
}

/** FilterChainMatch.ConnectionSourceType. */
const SOURCE_ANY = 0
const SOURCE_SAME_IP_OR_LOOPBACK = 1
const SOURCE_EXTERNAL = 2

type SourcePorts<T> = Map<number, T>
type SourceTypes<T> = (ByIp<SourcePorts<T>> | undefined)[]
type Protocols<T> = Map<string, ByIp<SourceTypes<T>>>
type Transports<T> = Map<string, Protocols<T>>
type ServerNames<T> = Map<string, Transports<T>>

/** Values by CIDR block; the key without a block stands for every address. */
class ByIp<T> {
  private readonly blocks = new CidrMap<T>()
  private any: T | undefined

  child(range: CidrRange | undefined, make: () => T): T {
    if (!range) {
      this.any ??= make()
      return this.any
    }
    const cidr = parseCidr(range.addressPrefix, range.prefixLen ?? 0)
    if (!cidr) throw new Error(`malformed IP address: ${range.addressPrefix}`)
    const exact = this.blocks.exact(cidr)
    if (exact !== undefined) return exact
    const made = make()
    this.blocks.set(cidr, made)
    return made
  }

  get(ip: string): T | undefined {
    if (this.blocks.empty) return this.any
    const words: IpWords | undefined = parseIp(ip)
    return (words && this.blocks.get(words)) ?? this.any
  }
}

/**
 * Finds the filter chain of a connection as source/common/listener_manager/filter_chain_manager_impl.cc
 * does: one criterion after another, at each the most specific value that is configured, never going
 * back. A dead end gives the default chain.
 */
export class FilterChainMatcher<T> {
  private readonly ports = new Map<number, ByIp<ServerNames<T>>>()
  private readonly fallback: T | undefined
  private readonly seen = new Map<string, string>()
  private readonly listener: string
  /** Set while there is exactly one chain and it accepts everything: then nothing has to be looked at. */
  private only: T | undefined
  private added = 0

  /** `listener`: the address, as error messages show it. */
  constructor(listener: string, fallback: T | undefined) {
    this.listener = listener
    this.fallback = fallback
  }

  /**
   * Adds a chain. Throws with Envoy's words when its criteria are those of another chain, overlap with
   * them, or cannot be matched.
   */
  add(match: FilterChainMatch | undefined, name: string, chain: T): void {
    const identity = match ? JSON.stringify(writeJson(match)) : '{}'
    if (match?.addressSuffix || match?.suffixLen !== undefined) {
      throw this.error(`filter chain '${name}' contains unimplemented fields`)
    }
    const same = this.seen.get(identity)
    if (same !== undefined) {
      throw this.error(
        `filter chain '${name}' has the same matching rules defined as '${same}'. duplicate matcher is: ${identity}`,
      )
    }
    this.seen.set(identity, name)
    this.only = this.added++ === 0 && matchesAll(match) ? chain : undefined
    for (const serverName of match?.serverNames ?? []) {
      if (serverName.includes('*') && !serverName.startsWith('*.')) {
        throw this.error('partial wildcards are not supported in "server_names"')
      }
    }
    this.insert(match, chain)
  }

  private insert(match: FilterChainMatch | undefined, chain: T): void {
    const byIp = getOrMake(this.ports, match?.destinationPort ?? 0, () => new ByIp<ServerNames<T>>())
    const sourceType = match?.sourceType ?? SOURCE_ANY
    for (const range of orAny(match?.prefixRanges)) {
      const names = byIp.child(range, () => new Map())
      for (const name of orAny(match?.serverNames)) {
        const transports = getOrMake(names, nameKey(name), () => new Map() as Transports<T>)
        const protocols = getOrMake(transports, match?.transportProtocol ?? '', () => new Map() as Protocols<T>)
        for (const protocol of orAny(match?.applicationProtocols)) {
          const direct = getOrMake(protocols, protocol ?? '', () => new ByIp<SourceTypes<T>>())
          for (const directRange of orAny(match?.directSourcePrefixRanges)) {
            const types = direct.child(directRange, () => [])
            types[sourceType] ??= new ByIp()
            for (const source of orAny(match?.sourcePrefixRanges)) {
              const ports = types[sourceType].child(source, () => new Map())
              for (const port of orAny(match?.sourcePorts)) {
                if (ports.has(port ?? 0)) {
                  throw this.error('multiple filter chains with overlapping matching rules are defined')
                }
                ports.set(port ?? 0, chain)
              }
            }
          }
        }
      }
    }
  }

  /** The chain for the connection, or the default chain, or undefined when there is none. */
  find(input: MatchInput): T | undefined {
    if (this.only !== undefined) return this.only
    return this.search(input) ?? this.fallback
  }

  private search(input: MatchInput): T | undefined {
    const byIp = this.ports.get(input.local.port) ?? this.ports.get(0)
    const names = byIp?.get(input.local.ip)
    if (!names) return undefined
    const transports = byServerName(names, input.sni)
    if (!transports) return undefined
    const protocols = transports.get(input.transportProtocol) ?? transports.get('')
    if (!protocols) return undefined
    const types = byProtocol(protocols, input.applicationProtocols)?.get(input.directRemote.ip)
    if (!types) return undefined
    const sources = bySourceType(types, input)
    const ports = sources?.get(input.remote.ip)
    return ports && (ports.get(input.remote.port) ?? ports.get(0))
  }

  private error(text: string): Error {
    return new Error(`error adding listener '${this.listener}': ${text}`)
  }
}

function matchesAll(m: FilterChainMatch | undefined): boolean {
  return (
    !m ||
    (m.destinationPort === undefined &&
      m.sourceType === SOURCE_ANY &&
      m.transportProtocol === '' &&
      m.prefixRanges.length +
        m.serverNames.length +
        m.applicationProtocols.length +
        m.directSourcePrefixRanges.length +
        m.sourcePrefixRanges.length +
        m.sourcePorts.length ===
        0)
  )
}

/** An empty list of criteria means one criterion that everything meets. */
function orAny<V>(list: readonly V[] | undefined): readonly (V | undefined)[] {
  return list && list.length > 0 ? list : [undefined]
}

/** `*.example.com` is kept as `.example.com`. */
function nameKey(name: string | undefined): string {
  if (!name) return ''
  return (name.startsWith('*.') ? name.slice(1) : name).toLowerCase()
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

function byServerName<T>(names: ServerNames<T>, sni: string): Transports<T> | undefined {
  const exact = names.get(sni)
  if (exact) return exact
  for (let dot = sni.indexOf('.', 1); dot > 0 && dot < sni.length - 1; dot = sni.indexOf('.', dot + 1)) {
    const wildcard = names.get(sni.slice(dot))
    if (wildcard) return wildcard
  }
  return names.get('')
}

function byProtocol<T>(protocols: Protocols<T>, offered: readonly string[]): ByIp<SourceTypes<T>> | undefined {
  for (const protocol of offered) {
    const found = protocols.get(protocol)
    if (found) return found
  }
  return protocols.get('')
}

function bySourceType<T>(types: SourceTypes<T>, input: MatchInput): ByIp<SourcePorts<T>> | undefined {
  const local = types[SOURCE_SAME_IP_OR_LOOPBACK]
  const external = types[SOURCE_EXTERNAL]
  if (local || external) {
    const chosen = isSameIpOrLoopback(input) ? local : external
    if (chosen) return chosen
  }
  return types[SOURCE_ANY]
}

/** source/common/network/utility.cc: the connection comes from this machine. */
function isSameIpOrLoopback(input: MatchInput): boolean {
  if (input.remote.ip === input.local.ip) return true
  const words = parseIp(input.remote.ip)
  if (!words) return false
  if (words.length === 1) return words[0]! >>> 24 === 127
  return words[0] === 0 && words[1] === 0 && words[2] === 0 && words[3] === 1
}
