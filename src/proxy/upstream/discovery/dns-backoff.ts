import type { Duration } from '@bufbuild/protobuf/wkt'
import type { Runtime } from '../../../runtime.ts'
import { durationMs, type Problems } from '../../http/config.ts'

/** When to look again after a failure: always `base`, or up to `max`, twice as long each time, at random. */
export interface DnsBackoff {
  readonly base: number
  /** Undefined: no growth, no chance. */
  readonly max: number | undefined
}

/** `dns_failure_refresh_rate` (source/common/config/utility.h prepareDnsRefreshStrategy). */
export function compileDnsBackoff(
  rate: { baseInterval?: Duration | undefined; maxInterval?: Duration | undefined } | undefined,
  refresh: number,
  path: string,
  problems: Problems,
): DnsBackoff {
  if (rate === undefined) return { base: refresh, max: undefined }
  const base = durationMs(rate.baseInterval) ?? refresh
  const max = durationMs(rate.maxInterval) ?? base * 10
  if (max < base)
    problems.add(path, 'dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval')
  return { base, max }
}

/** ms until the lookup after `failures` failures (JitteredExponentialBackOffStrategy). */
export function dnsBackoff({ base, max }: DnsBackoff, failures: number, runtime: Runtime): number {
  if (max === undefined) return base
  return Math.max(1, runtime.randomU32() % Math.min(max, base * 2 ** Math.max(0, failures - 1)))
}
