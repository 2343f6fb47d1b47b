import type { Origin } from '../../registry/model.ts'
import type { Init } from '../../xds/messages.ts'
import { cidr } from '../proto.ts'
import type { FilterMetadata } from '../provenance.ts'
import type { HcmOptions } from './hcm.ts'
import type { NetworkFilter } from './network-filters.ts'

/** ALPN values by which the HTTP inspector marks plain HTTP; HTTP/1.0 only where it is taken. */
export const plaintextAlpn = (http10: boolean): string[] =>
  http10 ? ['http/1.0', 'http/1.1', 'h2c'] : ['http/1.1', 'h2c']

/** An outbound filter chain before it is built (networking/core/listener.go filterChainOpts). */
export interface ChainDraft {
  sniHosts?: string[]
  cidrs?: string[]
  alpn?: string[]
  transport?: string
  metadata?: FilterMetadata
  /** One of the two. */
  http?: Omit<HcmOptions, 'statPrefix'>
  filters?: NetworkFilter[]
  origin?: Origin
}

/** Whether a chain takes every connection. */
export function takesAll(chain: ChainDraft): boolean {
  return (
    (!chain.sniHosts?.length || chain.sniHosts.includes('*')) &&
    !chain.alpn?.length &&
    !chain.transport &&
    !chain.cidrs?.length
  )
}

/** The conditions of a chain; undefined for one that takes all. */
export function chainMatch(chain: ChainDraft): Init<'envoy.config.listener.v3.FilterChainMatch'> | undefined {
  if (takesAll(chain)) return undefined
  const sni = chain.sniHosts ?? []
  const ranges = [...(chain.cidrs ?? [])].sort().flatMap((text) => {
    const range = cidr(text)
    return range && range.addressPrefix !== '0.0.0.0' ? [range] : []
  })
  return {
    serverNames: sni.includes('*') ? [] : [...sni].sort(),
    prefixRanges: ranges,
    applicationProtocols: chain.alpn ?? [],
    transportProtocol: chain.transport ?? '',
  }
}

/** Whether two chains would take the same connections. */
export function sameConditions(a: ChainDraft, b: ChainDraft): boolean {
  const names = (chain: ChainDraft): string =>
    [...new Set(chain.sniHosts ?? [])]
      .filter((name) => name !== '*')
      .sort()
      .join()
  const ranges = (chain: ChainDraft): string => [...new Set((chain.cidrs ?? []).flatMap(maskedRange))].sort().join()
  return (
    (a.transport ?? '') === (b.transport ?? '') &&
    (a.alpn ?? []).join() === (b.alpn ?? []).join() &&
    names(a) === names(b) &&
    ranges(a) === ranges(b)
  )
}

// 1.2.3.4/8 and 1.5.6.7/8 are the same range.
function maskedRange(text: string): string[] {
  const range = cidr(text)
  if (!range || range.addressPrefix === '0.0.0.0') return []
  if (range.addressPrefix.includes(':')) return [`${range.addressPrefix}/${range.prefixLen}`]
  const bits = range.addressPrefix.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  const size = 2 ** (32 - range.prefixLen)
  return [`${Math.floor(bits / size) * size}/${range.prefixLen}`]
}
