import type { StatsStore } from '../observe/stats.ts'

const NAMES = [
  'dropped_headers_with_underscores',
  'metadata_not_supported_error',
  'requests_rejected_with_underscores_in_headers',
  'response_flood',
]

/**
 * Makes the counters of HTTP/1 codecs: `http1.` downstream, `cluster.<name>.http1.` upstream
 * (source/common/http/http1/codec_stats.h).
 */
export function http1CodecStats(stats: StatsStore, prefix: string): void {
  for (const name of NAMES) stats.counter(`${prefix}http1.${name}`)
}
