import { adsHandlers, listenGrpc } from '../xds/grpc-server.ts'
import type { AdsServer } from '../xds/server.ts'

/** Where outside proxies get xDS. */
export interface GrpcDoor {
  readonly address: string
  close(): Promise<void>
}

/** Serves ADS over gRPC at an address; port 0 picks a free one. Rejects when it cannot be bound. */
export async function openGrpcDoor(server: AdsServer, at: { host: string; port: number }): Promise<GrpcDoor> {
  const host = at.host.includes(':') ? `[${at.host}]` : at.host
  const { port, close } = await listenGrpc(`${host}:${at.port}`, [adsHandlers(server)])
  return { address: `${host}:${port}`, close }
}
