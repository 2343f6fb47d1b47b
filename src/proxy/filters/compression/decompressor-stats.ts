import type { Counter, StatsStore } from '../../observe/stats.ts'

/** What a decompressor counts of one direction. */
export class DecompressorStats {
  readonly decompressed: Counter
  readonly notDecompressed: Counter
  readonly bytesIn: Counter
  readonly bytesOut: Counter

  constructor(store: StatsStore, prefix: string) {
    this.decompressed = store.counter(`${prefix}decompressed`)
    this.notDecompressed = store.counter(`${prefix}not_decompressed`)
    this.bytesIn = store.counter(`${prefix}total_compressed_bytes`)
    this.bytesOut = store.counter(`${prefix}total_uncompressed_bytes`)
  }
}
