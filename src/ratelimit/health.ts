import { type handleServerStreamingCall, type handleUnaryCall, status } from '@grpc/grpc-js'
import type { HealthCheckRequest, HealthCheckResponse } from '#gen/grpc/health/v1/health_pb.js'
import type { GrpcHandlers } from '../xds/grpc-server.ts'
import { make } from '../xds/messages.ts'

const SERVING = 1
const NOT_SERVING = 2
const SERVICE_UNKNOWN = 3

/** The parts whose health makes that of the service. */
export type HealthPart = 'redis' | 'config' | 'sigterm'

/**
 * The health of the service, for `/healthcheck` and for gRPC's health checking under the name `ratelimit` (src/server/health.go
 * of envoyproxy/ratelimit): good while that of all its parts is. As with Go's health server, '' is always well until the end.
 */
export class Health {
  readonly #parts = new Map<HealthPart, boolean>()
  readonly #watchers = new Set<() => void>()
  readonly #ends = new Set<() => void>()

  set(part: HealthPart, good: boolean): void {
    const before = this.good
    this.#parts.set(part, good)
    if (this.good !== before) for (const watcher of this.#watchers) watcher()
  }

  get good(): boolean {
    return [...this.#parts.values()].every(Boolean)
  }

  /** Ends the calls that watch: nothing changes any more. */
  endWatches(): void {
    for (const end of this.#ends) end()
  }

  /** grpc.health.v1.Health. */
  handlers(): GrpcHandlers {
    const check: handleUnaryCall<HealthCheckRequest, HealthCheckResponse> = ({ request }, callback) => {
      const serving = this.#statusOf(request.service)
      if (serving === undefined) callback({ code: status.NOT_FOUND, details: 'unknown service' })
      else callback(null, response(serving))
    }
    const watch: handleServerStreamingCall<HealthCheckRequest, HealthCheckResponse> = (call) => {
      let last: number | undefined
      const tell = () => {
        const serving = this.#statusOf(call.request.service) ?? SERVICE_UNKNOWN
        if (serving === last) return
        last = serving
        call.write(response(serving))
      }
      const end = () => call.end()
      this.#watchers.add(tell)
      this.#ends.add(end)
      const over = () => {
        this.#watchers.delete(tell)
        this.#ends.delete(end)
      }
      call.on('cancelled', over).on('close', over).on('error', over)
      tell()
    }
    return { name: 'grpc.health.v1.Health', handlers: { check, watch } }
  }

  #statusOf(service: string): number | undefined {
    if (service === '') return SERVING
    if (service !== 'ratelimit') return undefined
    return this.good ? SERVING : NOT_SERVING
  }
}

function response(serving: number): HealthCheckResponse {
  return make('grpc.health.v1.HealthCheckResponse', { status: serving })
}
