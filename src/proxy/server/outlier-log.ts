import type { LogFiles } from '../context.ts'
import { formatAddress } from '../listener/connection.ts'
import type { EjectionType, OutlierEvent } from '../upstream/outlier-detection.ts'
import type { ProxyServerOptions } from './options.ts'

/** Names of envoy.data.cluster.v3.OutlierEjectionType. */
const TYPES: Readonly<Record<EjectionType, string>> = {
  consecutive_5xx: 'CONSECUTIVE_5XX',
  consecutive_gateway_failure: 'CONSECUTIVE_GATEWAY_FAILURE',
  success_rate: 'SUCCESS_RATE',
  consecutive_local_origin_failure: 'CONSECUTIVE_LOCAL_ORIGIN_FAILURE',
  local_origin_success_rate: 'SUCCESS_RATE_LOCAL_ORIGIN',
  failure_percentage: 'FAILURE_PERCENTAGE',
  local_origin_failure_percentage: 'FAILURE_PERCENTAGE_LOCAL_ORIGIN',
}

/**
 * Writes each ejection and its end to the event log of the bootstrap (`cluster_manager.outlier_detection`), if it has
 * one, and tells the owner. Undefined when neither wants to know.
 */
export function outlierListener(
  { bootstrap, runtime, onOutlier }: ProxyServerOptions,
  logs: LogFiles,
): ((cluster: string, event: OutlierEvent) => void) | undefined {
  const path = bootstrap.clusterManager?.outlierDetection?.eventLogPath ?? ''
  if (path === '') return onOutlier
  const file = logs.open(path)
  return (cluster, event) => {
    file.write(`${JSON.stringify(lineOf(cluster, event, runtime.wallNow()))}\n`)
    onOutlier?.(cluster, event)
  }
}

/** An envoy.data.cluster.v3.OutlierDetectionEvent (source/common/upstream/outlier_detection_impl.cc EventLoggerImpl). */
function lineOf(cluster: string, event: OutlierEvent, wall: number): object {
  const { action, type, host, ejections, enforced, sinceLast } = event
  return {
    // The end of an ejection has no type of its own, and so says the first one.
    type: type === undefined ? TYPES.consecutive_5xx : TYPES[type],
    timestamp: new Date(wall).toISOString(),
    ...(sinceLast === undefined ? {} : { secs_since_last_action: String(Math.floor(sinceLast / 1000)) }),
    cluster_name: cluster,
    upstream_url: host.pipe ?? formatAddress(host.address),
    action,
    num_ejections: ejections,
    enforced,
    ...(type === undefined ? {} : detailsOf(type, event)),
  }
}

function detailsOf(type: EjectionType, { rates }: OutlierEvent): object {
  if (rates === undefined) return { eject_consecutive_event: {} }
  const host_success_rate = Math.trunc(rates.host)
  if (type === 'failure_percentage' || type === 'local_origin_failure_percentage')
    return { eject_failure_percentage_event: { host_success_rate } }
  return {
    eject_success_rate_event: {
      host_success_rate,
      cluster_average_success_rate: Math.trunc(rates.average),
      cluster_success_rate_ejection_threshold: Math.trunc(rates.threshold),
    },
  }
}
