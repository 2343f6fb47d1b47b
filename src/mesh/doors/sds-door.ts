import net from 'node:net'
import { SdsSource } from '../../pilot/sds-source.ts'
import type { Runtime } from '../../runtime.ts'
import { listenGrpcUnix } from '../../xds/grpc-listen.ts'
import { type GrpcListener, listenGrpc, sdsHandlers } from '../../xds/grpc-server.ts'
import { AdsServer } from '../../xds/server.ts'
import type { ControlPlane } from '../control-plane.ts'

/** Where SDS is served: a unix socket, or a loopback address. */
export type SdsPlace = { readonly socket: string } | { readonly host: string; readonly port: number }

/**
 * Serves the certificates and keys of all workloads by SDS, to whoever can reach the place: each client says by its node id
 * which workload it is. Rejects for an address that is not on the loopback interface, and when the place cannot be bound.
 */
export async function openSdsDoor(
  { pilot, ca }: ControlPlane,
  place: SdsPlace,
  { runtime, log }: { readonly runtime: Runtime; readonly log?: ((line: string) => void) | undefined },
): Promise<GrpcListener> {
  const files = 'socket' in place
  const source = new SdsSource({ pilot, ca, runtime, files, log })
  const ads = new AdsServer({ runtime, source, log })
  const close = () => {
    ads.close()
    source.close()
  }
  try {
    const listener = await listenSds(place, ads)
    return {
      ...listener,
      close() {
        close()
        return listener.close()
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

/** Listens for SDS at a place. Rejects as `openSdsDoor`. */
export function listenSds(place: SdsPlace, ads: AdsServer): Promise<GrpcListener> {
  const services = [sdsHandlers(ads)]
  if ('socket' in place) return listenGrpcUnix(place.socket, services)
  const { host, port } = place
  if (!isLoopback(host))
    return Promise.reject(new Error(`SDS hands out private keys: ${host} is not on the loopback interface`))
  return listenGrpc(`${host.includes(':') ? `[${host}]` : host}:${port}`, services)
}

/** Whether an address, or `localhost`, is of this machine alone. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (net.isIPv4(host) && host.startsWith('127.'))
}
