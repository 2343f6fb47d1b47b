import type { UpstreamHost } from '../upstream-host.ts'
import { type HostSource, HostSourceBalancer } from './host-source.ts'

/** Uniform choice; weights of endpoints are ignored (source/extensions/load_balancing_policies/random). */
export class Random extends HostSourceBalancer<undefined> {
  protected override stateFor(): undefined {
    return undefined
  }

  protected override pick(source: HostSource<undefined>, random: number): UpstreamHost | undefined {
    // The same draw that chose the priority chooses the host, as in Envoy.
    return source.hosts[random % source.hosts.length]
  }
}
