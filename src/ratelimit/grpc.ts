import { type handleUnaryCall, Server, type ServerCredentials, status } from '@grpc/grpc-js'
import type { RateLimitRequest, RateLimitResponse } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import type { Runtime } from '../runtime.ts'
import type { GrpcHandlers } from '../xds/grpc-server.ts'
import { grpcService } from '../xds/grpc-service.ts'
import type { RateLimitService } from './service.ts'
import type { Stats } from './stats.ts'

/** How to serve gRPC. */
export interface GrpcOptions {
  /** `host:port`, or `unix:PATH`. */
  readonly address: string
  readonly services: readonly GrpcHandlers[]
  readonly credentials: ServerCredentials
  readonly runtime: Runtime
  /** How old a connection may get, and how long its calls may still take then, ms. */
  readonly maxAgeMs: number
  readonly maxAgeGraceMs: number
}

/** A gRPC server that listens. */
export interface GrpcDoor {
  /** As bound. */
  readonly address: string
  /** Takes no more calls; waits for those under way, `graceMs` at most, and ends the rest. */
  drain(graceMs: number): Promise<void>
}

/** Listens for gRPC. Rejects when the address cannot be bound. */
export async function serveGrpc(options: GrpcOptions): Promise<GrpcDoor> {
  const { address, services, credentials, runtime, maxAgeMs, maxAgeGraceMs } = options
  const server = new Server({
    'grpc.max_connection_age_ms': maxAgeMs,
    'grpc.max_connection_age_grace_ms': maxAgeGraceMs,
  })
  for (const { name, handlers } of services) server.addService(grpcService(name), handlers)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => {
      if (!error) resolve(bound)
      else {
        const reason = /EADDRINUSE/.test(error.message) ? 'the address is in use' : error.message
        reject(new Error(`cannot listen for gRPC on ${address}: ${reason}`, { cause: error }))
      }
    })
  })
  return {
    address: address.startsWith('unix:') ? address : `${address.slice(0, address.lastIndexOf(':'))}:${port}`,
    drain(graceMs) {
      return new Promise((resolve) => {
        const timer = runtime.after(graceMs, () => server.forceShutdown())
        server.tryShutdown(() => {
          timer.cancel()
          resolve()
        })
      })
    },
  }
}

/** envoy.service.ratelimit.v3.RateLimitService. What fails has status UNKNOWN, as errors of Go have. */
export function rateLimitHandlers(service: RateLimitService, stats: Stats, runtime: Runtime): GrpcHandlers {
  const shouldRateLimit: handleUnaryCall<RateLimitRequest, RateLimitResponse> = (call, callback) => {
    const start = runtime.now()
    stats.totalRequests.inc()
    service
      .shouldRateLimit(call.request)
      .then(
        (response) => callback(null, response),
        (error: Error) => callback({ code: status.UNKNOWN, details: error.message }),
      )
      .finally(() => stats.responseTimes.observe(runtime.now() - start))
  }
  return { name: 'envoy.service.ratelimit.v3.RateLimitService', handlers: { shouldRateLimit } }
}
