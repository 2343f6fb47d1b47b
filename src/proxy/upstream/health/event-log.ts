import type { Runtime } from '../../../runtime.ts'
import type { LogFile, LogFiles } from '../../context.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { FailureType } from './settings.ts'

/** Lines of `envoy.data.core.v3.HealthCheckEvent` as JSON (source/common/upstream/health_checker_event_logger.cc). */
export class HealthEvents {
  private readonly cluster: string
  private readonly type: string
  private readonly files: readonly LogFile[]
  private readonly runtime: Runtime

  constructor(cluster: string, type: string, paths: readonly string[], logs: LogFiles | undefined, runtime: Runtime) {
    this.cluster = cluster
    this.type = type
    this.files = logs === undefined ? [] : paths.map((path) => logs.open(path))
    this.runtime = runtime
  }

  addHealthy(host: UpstreamHost, first: boolean): void {
    this.write(host, { add_healthy_event: { first_check: first } })
  }

  ejectUnhealthy(host: UpstreamHost, type: FailureType, status: number): void {
    this.write(host, { eject_unhealthy_event: { failure_type: type, http_status_code: status } })
  }

  failure(host: UpstreamHost, type: FailureType, first: boolean, status: number): void {
    const event = { failure_type: type, first_check: first, http_status_code: status }
    this.write(host, {}, { health_check_failure_event: event })
  }

  degraded(host: UpstreamHost): void {
    this.write(host, {}, { degraded_healthy_host: {} })
  }

  noLongerDegraded(host: UpstreamHost): void {
    this.write(host, {}, { no_longer_degraded_host: {} })
  }

  success(host: UpstreamHost): void {
    this.write(host, {}, {}, { successful_health_check_event: {} })
  }

  /** Fields stand in the order of their numbers, so the event itself may stand in one of three places. */
  private write(host: UpstreamHost, early: object, middle: object = {}, late: object = {}): void {
    if (this.files.length === 0) return
    const { region, zone, subZone } = host.locality
    const line = JSON.stringify({
      health_checker_type: this.type,
      host: addressOf(host),
      cluster_name: this.cluster,
      ...early,
      timestamp: new Date(this.runtime.wallNow()).toISOString(),
      ...middle,
      ...(host.metadata.size === 0
        ? {}
        : { metadata: { filter_metadata: Object.fromEntries(host.metadata), typed_filter_metadata: {} } }),
      locality: { region, zone, sub_zone: subZone },
      ...late,
    })
    for (const file of this.files) file.write(`${line}\n`)
  }
}

function addressOf(host: UpstreamHost): object {
  if (host.pipe !== undefined) return { pipe: { path: host.pipe, mode: 0 } }
  return {
    socket_address: {
      protocol: 'TCP',
      address: host.address.ip,
      port_value: host.address.port,
      resolver_name: '',
      ipv4_compat: false,
      network_namespace_filepath: '',
    },
  }
}
