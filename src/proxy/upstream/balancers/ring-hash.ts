import { murmurHash2, xxHash64 } from '../hash.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import { extremes, type HashTable, hashKey, type WeightedHost } from './hashing.ts'

/** Settings of a ring. */
export interface RingHashSettings {
  readonly minimumRingSize: number
  readonly maximumRingSize: number
  readonly murmur: boolean
  readonly useHostname: boolean
}

/** A ketama ring (source/extensions/load_balancing_policies/ring_hash/ring_hash_lb.cc). */
export class HashRing implements HashTable {
  private readonly hashes: BigUint64Array
  private readonly hosts: UpstreamHost[]
  readonly shape: Readonly<Record<string, number>>

  constructor(weighted: readonly WeightedHost[], settings: RingHashSettings) {
    const least = weighted.reduce((min, w) => Math.min(min, w.weight), 1)
    // The least-weighted host gets a whole number of points; running sums spread the fractions of the others.
    const scale = Math.min(Math.ceil(least * settings.minimumRingSize) / least, settings.maximumRingSize)
    const hash = settings.murmur ? murmurHash2 : xxHash64
    const points: { hash: bigint; host: UpstreamHost }[] = []
    const counts: number[] = []
    let target = 0
    for (const { host, weight } of weighted) {
      const key = hashKey(host, settings.useHostname)
      target += scale * weight
      let n = 0
      for (; points.length < target; n++) points.push({ hash: hash(`${key}_${n}`), host })
      counts.push(n)
    }
    points.sort((a, b) => (a.hash < b.hash ? -1 : a.hash > b.hash ? 1 : 0))
    this.hashes = BigUint64Array.from(points, (p) => p.hash)
    this.hosts = points.map((p) => p.host)
    const { min, max } = extremes(counts)
    this.shape = {
      'ring_hash_lb.size': points.length,
      'ring_hash_lb.min_hashes_per_host': min,
      'ring_hash_lb.max_hashes_per_host': max,
    }
  }

  get size(): number {
    return this.hosts.length
  }

  choose(hash: bigint, attempt: number): UpstreamHost | undefined {
    let low = 0
    let high = this.hashes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.hashes[middle]! < hash) low = middle + 1
      else high = middle
    }
    // Past the last point the ring closes at its first.
    if (low === this.hashes.length) low = 0
    return this.hosts[(low + attempt) % this.hosts.length]
  }
}
