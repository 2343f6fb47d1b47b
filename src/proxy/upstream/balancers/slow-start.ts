import type { Runtime } from '../../../runtime.ts'
import type { UpstreamHost } from '../upstream-host.ts'

/** Slow start: new hosts get their share of traffic gradually. */
export interface SlowStart {
  /** Milliseconds. */
  readonly window: number
  /** 1 = linear; larger = faster at first. */
  readonly aggression: number
  /** Least share of the weight, 0 to 1. */
  readonly minWeight: number
}

/** Whether the host is still warming up. */
export function inSlowStart(host: UpstreamHost, slowStart: SlowStart, runtime: Runtime): boolean {
  return host.healthy && runtime.now() - host.since < slowStart.window
}

/** The factor on a host's weight (load_balancer_impl.cc applySlowStartFactor). */
export function slowStartFactor(host: UpstreamHost, slowStart: SlowStart, runtime: Runtime): number {
  const elapsed = runtime.now() - host.since
  if (!host.healthy || elapsed >= slowStart.window) return 1
  const time = Math.max(1, elapsed) / slowStart.window
  const factor = slowStart.aggression === 1 ? time : time ** (1 / slowStart.aggression)
  return Math.max(factor, slowStart.minWeight)
}
