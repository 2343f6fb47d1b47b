import { xxHash64 } from '../hash.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import { extremes, type HashTable, hashKey, type WeightedHost } from './hashing.ts'

/** Settings of a Maglev table; the size must be prime. */
export interface MaglevSettings {
  readonly tableSize: number
  readonly useHostname: boolean
}

interface Entry {
  readonly host: UpstreamHost
  readonly offset: number
  readonly skip: number
  readonly weight: number
  target: number
  next: number
}

const ALL_BITS = (1n << 64n) - 1n

/** A Maglev table (source/extensions/load_balancing_policies/maglev/maglev_lb.cc). */
export class MaglevTable implements HashTable {
  private readonly hosts: UpstreamHost[]
  private readonly table: Uint32Array
  private readonly size: bigint
  readonly shape: Readonly<Record<string, number>>

  constructor(weighted: readonly WeightedHost[], settings: MaglevSettings) {
    const size = settings.tableSize
    this.size = BigInt(size)
    const keyed = weighted.map((w) => ({ ...w, key: hashKey(w.host, settings.useHostname) }))
    // Sorted, so that every proxy builds the same table whatever the order it learnt the hosts in.
    keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    const entries: Entry[] = keyed.map(({ host, weight, key }) => ({
      host,
      offset: Number(xxHash64(key) % this.size),
      skip: Number(xxHash64(key, 1n) % (this.size - 1n)) + 1,
      weight,
      target: 0,
      next: 0,
    }))
    this.hosts = entries.map((e) => e.host)
    this.table = new Uint32Array(size)
    const { min, max } = extremes(fill(this.table, entries))
    this.shape = { 'maglev_lb.min_entries_per_host': min, 'maglev_lb.max_entries_per_host': max }
  }

  choose(hash: bigint, attempt: number): UpstreamHost | undefined {
    const h = attempt > 0 ? hash ^ ((ALL_BITS - BigInt(attempt) + 1n) & ALL_BITS) : hash
    return this.hosts[this.table[Number(h % this.size)]! - 1]
  }
}

/** Gives slots in turns, fewer turns to lighter hosts; a slot holds the entry's index plus 1. Returns the slots of each. */
function fill(table: Uint32Array, entries: readonly Entry[]): Uint32Array {
  const counts = new Uint32Array(entries.length)
  const heaviest = entries.reduce((max, e) => Math.max(max, e.weight), 0)
  let filled = 0
  for (let turn = 1; filled < table.length; turn++) {
    for (let i = 0; i < entries.length && filled < table.length; i++) {
      const e = entries[i]!
      if (turn * e.weight < e.target) continue
      e.target += heaviest
      let slot = (e.offset + e.skip * e.next) % table.length
      while (table[slot] !== 0) slot = (e.offset + e.skip * ++e.next) % table.length
      table[slot] = i + 1
      e.next++
      counts[i]!++
      filled++
    }
  }
  return counts
}
