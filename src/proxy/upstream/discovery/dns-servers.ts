import dns from 'node:dns'
import net from 'node:net'
import type { DnsFamily } from '../cluster-config.ts'
import type { DnsFailure, Resolved, Resolver } from '../resolver.ts'

/** c-ares' words for what went wrong, as details show them (ares_strerror). */
const WORDS: Readonly<Record<string, string>> = {
  ENOTFOUND: 'Domain name not found',
  ENODATA: 'DNS server returned answer with no data',
  ESERVFAIL: 'DNS server returned general failure',
  EFORMERR: 'DNS server claims query was misformatted',
  ENOTIMP: 'DNS server does not implement requested operation',
  EREFUSED: 'DNS server refused query',
  EBADNAME: 'Misformatted domain name',
  ETIMEOUT: 'Timeout while contacting DNS servers',
  ECONNREFUSED: 'Could not contact DNS servers',
  ECANCELLED: 'DNS request cancelled',
}

interface Found {
  readonly records: readonly dns.RecordWithTtl[]
  readonly code: string | undefined
}

/** Asks these name servers (`ip:port`, brackets around IPv6) instead of the system (source/extensions/network/dns_resolver/cares/dns_impl.cc). */
export function nameServerResolver(servers: readonly string[]): Resolver {
  const resolver = new dns.Resolver()
  resolver.setServers(servers)
  const ask = (name: string, version: 4 | 6, done: (found: Found) => void) => {
    const answer = (error: NodeJS.ErrnoException | null, records: dns.RecordWithTtl[]) =>
      done(error ? { records: [], code: error.code ?? 'ESERVFAIL' } : { records, code: undefined })
    if (version === 4) resolver.resolve4(name, { ttl: true }, answer)
    else resolver.resolve6(name, { ttl: true }, answer)
  }
  return {
    resolve(name, family, _wantTtl, done) {
      const fixed = literal(name, family)
      if (fixed !== undefined) {
        process.nextTick(done, { addresses: fixed, ttl: undefined })
        return
      }
      const [first, second] = order(family)
      ask(name, first, (one) => {
        if (second === undefined || (family !== 'all' && one.records.length > 0)) finish([one], done)
        else ask(name, second, (two) => finish(family === 'all' ? [one, two] : [two], done))
      })
    },
  }
}

function order(family: DnsFamily): [first: 4 | 6, second: 4 | 6 | undefined] {
  if (family === 'v4') return [4, undefined]
  if (family === 'v6') return [6, undefined]
  return family === 'auto' ? [6, 4] : [4, 6]
}

/** What needs no server: addresses, and names for this machine (RFC 6761). */
function literal(name: string, family: DnsFamily): readonly string[] | undefined {
  if (net.isIP(name) !== 0) return [name]
  if (name !== 'localhost' && !name.endsWith('.localhost')) return undefined
  return family === 'v6' ? ['::1'] : ['127.0.0.1']
}

function finish(found: readonly Found[], done: (result: Resolved | undefined, failure?: DnsFailure) => void): void {
  const records = found.flatMap((f) => f.records)
  const code = found.find((f) => f.code !== undefined)?.code
  if (records.length > 0) {
    done({
      addresses: records.map((r) => r.address),
      ttl: Math.min(...records.map((r) => r.ttl)) * 1000,
    })
  } else done(...dnsOutcome(code))
}

/** What an answer without addresses means: that there is no such name is an answer, too. */
export function dnsOutcome(code: string | undefined): [result: Resolved | undefined, failure: DnsFailure] {
  if (code === undefined || code === 'ENOTFOUND' || code === 'ENODATA') {
    const words = WORDS[code ?? 'ENODATA']!
    return [{ addresses: [], ttl: undefined }, `cares_norecords:${words}`]
  }
  return [undefined, `cares_failure:${WORDS[code] ?? code}`]
}
