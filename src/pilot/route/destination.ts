import type { Destination } from '../../api/kinds/virtual-service.ts'
import type { Service } from '../../registry/model.ts'
import { outboundCluster } from '../names.ts'

/**
 * The cluster of a destination: its port, else the service's only one, else the listener's. It is named even when
 * service or subset do not exist; Envoy then answers 503 (networking/core/route GetDestinationCluster).
 */
export function destinationCluster(
  destination: Destination,
  service: Service | undefined,
  listenerPort: number,
): string {
  if (destination.host === '') return 'UnknownService'
  const host = service?.externalName || destination.host
  const only = service?.ports.length === 1 ? service.ports[0]?.port : undefined
  const port = destination.port ? (destination.port.number ?? 0) : (only ?? listenerPort)
  return outboundCluster(host, port, destination.subset ?? '')
}
