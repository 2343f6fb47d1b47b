import { describe, expect, test } from 'vitest'
import type { FilterChainMatch } from '#gen/envoy/config/listener/v3/listener_components_pb.js'
import { FilterChainMatcher, type MatchInput } from '../src/proxy/listener/filter-chain-match.ts'
import { type Init, make } from '../src/xds/messages.ts'

type Match = Init<'envoy.config.listener.v3.FilterChainMatch'>

function matcher(chains: Readonly<Record<string, Match>>, fallback?: string): FilterChainMatcher<string> {
  const built = new FilterChainMatcher<string>('0.0.0.0:15006', fallback)
  for (const [name, match] of Object.entries(chains)) {
    built.add(make('envoy.config.listener.v3.FilterChainMatch', match) as FilterChainMatch, name, name)
  }
  return built
}

function input(over: Partial<MatchInput> = {}): MatchInput {
  return {
    local: { ip: '10.0.0.1', port: 8080 },
    remote: { ip: '10.9.9.9', port: 40000 },
    directRemote: { ip: '10.9.9.9', port: 40000 },
    sni: '',
    transportProtocol: 'raw_buffer',
    applicationProtocols: [],
    ...over,
  }
}

const cidr = (addressPrefix: string, prefixLen: number) => ({ addressPrefix, prefixLen })

describe('a filter chain is chosen', () => {
  test.each<[string, Record<string, Match>, Partial<MatchInput>, string | undefined]>([
    ['by destination port', { a: { destinationPort: 8080 }, b: { destinationPort: 9090 } }, {}, 'a'],
    ['without a port when none is exact', { a: { destinationPort: 1 }, b: {} }, {}, 'b'],
    [
      'by the longest destination prefix',
      { a: { prefixRanges: [cidr('10.0.0.0', 8)] }, b: { prefixRanges: [cidr('10.0.0.0', 24)] }, c: {} },
      {},
      'b',
    ],
    [
      'by an IPv6 prefix',
      { a: { prefixRanges: [cidr('2001:db8::', 32)] } },
      { local: { ip: '2001:db8::7', port: 1 } },
      'a',
    ],
    ['by exact server name', { a: { serverNames: ['a.test'] }, b: {} }, { sni: 'a.test' }, 'a'],
    ['by server name in capitals in the config', { a: { serverNames: ['A.Test'] } }, { sni: 'a.test' }, 'a'],
    [
      'by the longest wildcard',
      { a: { serverNames: ['*.test'] }, b: { serverNames: ['*.x.test'] } },
      { sni: 'www.x.test' },
      'b',
    ],
    ['never by a wildcard of the name itself', { a: { serverNames: ['*.x.test'] }, b: {} }, { sni: 'x.test' }, 'b'],
    [
      'by transport protocol',
      { a: { transportProtocol: 'tls' }, b: { transportProtocol: 'raw_buffer' } },
      { transportProtocol: 'tls' },
      'a',
    ],
    [
      "by the client's first configured protocol",
      { a: { applicationProtocols: ['http/1.1'] }, b: { applicationProtocols: ['h2'] } },
      { applicationProtocols: ['istio', 'h2', 'http/1.1'] },
      'b',
    ],
    ['without a protocol when none is offered', { a: { applicationProtocols: ['h2'] }, b: {} }, {}, 'b'],
    ['by direct source', { a: { directSourcePrefixRanges: [cidr('10.9.0.0', 16)] }, b: {} }, {}, 'a'],
    ['by source type external', { a: { sourceType: 2 }, b: { sourceType: 1 } }, {}, 'a'],
    [
      'by source type same address',
      { a: { sourceType: 2 }, b: { sourceType: 1 } },
      { remote: { ip: '10.0.0.1', port: 1 } },
      'b',
    ],
    ['by source type loopback', { a: { sourceType: 1 } }, { remote: { ip: '127.1.2.3', port: 1 } }, 'a'],
    [
      'by source prefix and port',
      { a: { sourcePrefixRanges: [cidr('10.9.9.9', 32)], sourcePorts: [40000] }, b: {} },
      {},
      'a',
    ],
    ['by port alone', { a: { sourcePorts: [1] }, b: { sourcePorts: [40000] } }, {}, 'b'],
    ['not at all when nothing fits', { a: { destinationPort: 1 } }, {}, undefined],
  ])('%s', (_name, chains, over, expected) => {
    expect(matcher(chains).find(input(over))).toBe(expected)
  })

  test('greedily: a dead end behind a more specific match is not backed out of', () => {
    const chains = { exact: { destinationPort: 8080, serverNames: ['a.test'] }, any: {} }
    expect(matcher(chains).find(input({ sni: 'b.test' }))).toBeUndefined()
    expect(matcher(chains, 'default').find(input({ sni: 'b.test' }))).toBe('default')
  })

  test('by a prefix that leads nowhere, though a wider one would fit', () => {
    const chains = {
      narrow: { prefixRanges: [cidr('10.0.0.1', 32)], transportProtocol: 'tls' },
      wide: { prefixRanges: [cidr('10.0.0.0', 8)] },
    }
    expect(matcher(chains).find(input())).toBeUndefined()
    expect(matcher(chains).find(input({ local: { ip: '10.0.0.2', port: 1 } }))).toBe('wide')
  })
})

describe('filter chains are refused', () => {
  test('when two have the same criteria', () => {
    expect(() => matcher({ a: { destinationPort: 80 }, b: { destinationPort: 80 } })).toThrow(
      `error adding listener '0.0.0.0:15006': filter chain 'b' has the same matching rules defined as 'a'. duplicate matcher is: {"destination_port":80}`,
    )
  })

  test('when their criteria overlap', () => {
    expect(() => matcher({ a: { serverNames: ['x', 'y'] }, b: { serverNames: ['y', 'z'] } })).toThrow(
      "error adding listener '0.0.0.0:15006': multiple filter chains with overlapping matching rules are defined",
    )
  })

  test('when a server name has a wildcard inside', () => {
    expect(() => matcher({ a: { serverNames: ['a.*.test'] } })).toThrow(
      `error adding listener '0.0.0.0:15006': partial wildcards are not supported in "server_names"`,
    )
  })

  test('when they use fields that Envoy does not implement', () => {
    expect(() => matcher({ a: { addressSuffix: '1' } })).toThrow("filter chain 'a' contains unimplemented fields")
  })
})
