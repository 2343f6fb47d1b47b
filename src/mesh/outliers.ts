import { formatAddress } from '../proxy/listener/connection.ts'
import type { OutlierEvent } from '../proxy/upstream/outlier-detection.ts'
import type { Workload } from '../registry/model.ts'
import type { Registry } from '../registry/registry.ts'
import type { Runtime } from '../runtime.ts'
import type { OutlierReport } from './outlier-report.ts'

/** What a mesh tells of an ejection. */
export function outlierReport(
  workload: Workload,
  cluster: string,
  event: OutlierEvent,
  registry: Registry,
  runtime: Runtime,
): OutlierReport {
  return {
    workload: workload.name,
    namespace: workload.namespace,
    action: event.action === 'EJECT' ? 'eject' : 'uneject',
    cluster,
    host: formatAddress(event.host.address),
    instance: registry.workloadByIp(event.host.address.ip)?.name,
    reason: event.type,
    ejections: event.ejections,
    at: runtime.wallNow(),
  }
}
