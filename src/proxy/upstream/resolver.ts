import dns from 'node:dns'
import type { DnsFamily } from './cluster-config.ts'
import { dnsOutcome } from './discovery/dns-servers.ts'

/** What a lookup found; `ttl` in ms where the source says one. */
export interface Resolved {
  readonly addresses: readonly string[]
  readonly ttl: number | undefined
}

/** Why a lookup gave no address, in c-ares' words: `cares_norecords:Domain name not found`. */
export type DnsFailure = string

/** Resolves names; injected so that a mesh can answer from its own table. */
export interface Resolver {
  /** `undefined`: the lookup failed. An empty list: there is no such name, or it has no addresses of that family. */
  resolve(
    name: string,
    family: DnsFamily,
    wantTtl: boolean,
    done: (result: Resolved | undefined, failure?: DnsFailure) => void,
  ): void
}

/** getaddrinfo's codes by those of c-ares. */
const GETADDRINFO: Readonly<Record<string, string>> = { EAI_AGAIN: 'ETIMEOUT', EAI_NODATA: 'ENODATA' }

/** The system's resolver: hosts file first, as getaddrinfo has it. */
export const systemResolver: Resolver = {
  resolve(name, family, wantTtl, done) {
    const only = family === 'v4' ? 4 : family === 'v6' ? 6 : 0
    dns.lookup(name, { all: true, family: only }, (error, found) => {
      if (error) {
        done(...dnsOutcome(GETADDRINFO[error.code ?? ''] ?? error.code ?? 'ESERVFAIL'))
        return
      }
      const addresses = choose(found, family)
      if (!wantTtl || addresses.length === 0) {
        if (addresses.length === 0) done(...dnsOutcome('ENODATA'))
        else done({ addresses, ttl: undefined })
        return
      }
      ttlOf(name, addresses, (ttl) => done({ addresses, ttl }))
    })
  },
}

function choose(found: readonly dns.LookupAddress[], family: DnsFamily): string[] {
  const of = (n: number) => found.filter((a) => a.family === n).map((a) => a.address)
  if (family === 'all') return [...of(4), ...of(6)]
  const [first, second] = family === 'v4-preferred' || family === 'v4' ? [of(4), of(6)] : [of(6), of(4)]
  return family === 'v4' || family === 'v6' || first.length > 0 ? first : second
}

/** getaddrinfo tells no TTL; the name server does, if it is who answered. */
function ttlOf(name: string, addresses: readonly string[], done: (ttl: number | undefined) => void): void {
  const query = addresses[0]!.includes(':') ? dns.resolve6 : dns.resolve4
  query(name, { ttl: true }, (error, records) => {
    const known = error ? [] : records.filter((r) => addresses.includes(r.address))
    done(known.length === 0 ? undefined : Math.min(...known.map((r) => r.ttl)) * 1000)
  })
}
