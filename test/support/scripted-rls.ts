import { fromBinary, fromJson, type JsonValue, toBinary } from '@bufbuild/protobuf'
import { Server, ServerCredentials, type ServerUnaryCall, type ServiceError, type sendUnaryData } from '@grpc/grpc-js'
import type { RateLimitRequest, RateLimitResponse } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import { registry, schemaOf } from '../../src/xds/messages.ts'

const REQUEST = 'envoy.service.ratelimit.v3.RateLimitRequest'
const RESPONSE = 'envoy.service.ratelimit.v3.RateLimitResponse'

/**
 * What a scripted service does with a call: a RateLimitResponse in JSON, maybe once something has happened, a gRPC
 * status instead of one, or nothing.
 */
export type LimitAnswer =
  | { readonly rls: object; readonly after?: Promise<void> }
  | { readonly fails: number }
  | 'hangs'

export const OK: LimitAnswer = { rls: { overallCode: 'OK' } }
export const OVER: LimitAnswer = { rls: { overallCode: 'OVER_LIMIT' } }

/** A rate limit service that records what it is asked and answers as it is told. */
export class ScriptedRls {
  readonly asked: RateLimitRequest[] = []
  /** Metadata of the calls. */
  readonly metadata: Record<string, unknown>[] = []
  cancelled = 0
  port = 0
  private readonly server = new Server()
  private readonly answers: LimitAnswer[]

  private constructor(answers: LimitAnswer[]) {
    this.answers = answers
  }

  /** One answer per call in turn; the last one stays. Without any: OK. */
  static async start(...answers: LimitAnswer[]): Promise<ScriptedRls> {
    const rls = new ScriptedRls(answers)
    const definition = {
      shouldRateLimit: {
        path: '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit',
        requestStream: false as const,
        responseStream: false as const,
        requestSerialize: (bytes: Buffer) => bytes,
        requestDeserialize: (bytes: Buffer) => fromBinary(schemaOf(REQUEST), bytes) as unknown as RateLimitRequest,
        responseSerialize: (m: RateLimitResponse) => Buffer.from(toBinary(schemaOf(RESPONSE), m as never)),
        responseDeserialize: (bytes: Buffer) => bytes,
      },
    }
    rls.server.addService(definition as never, {
      shouldRateLimit: (
        call: ServerUnaryCall<RateLimitRequest, RateLimitResponse>,
        done: sendUnaryData<RateLimitResponse>,
      ) => rls.serve(call, done),
    })
    rls.port = await new Promise<number>((resolve, reject) => {
      rls.server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      )
    })
    return rls
  }

  /** The descriptors of each call as `key=value,key2=value2`, in order. */
  get descriptors(): string[][] {
    return this.asked.map(({ descriptors }) =>
      descriptors.map(({ entries }) => entries.map(({ key, value }) => `${key}=${value}`).join(',')),
    )
  }

  stop(): void {
    this.server.forceShutdown()
  }

  private serve(
    call: ServerUnaryCall<RateLimitRequest, RateLimitResponse>,
    done: sendUnaryData<RateLimitResponse>,
  ): void {
    const answer = this.answers[Math.min(this.asked.length, this.answers.length - 1)] ?? OK
    this.asked.push(call.request)
    this.metadata.push(call.metadata.getMap())
    call.on('cancelled', () => {
      this.cancelled++
    })
    if (answer === 'hangs') return
    if ('fails' in answer) done({ code: answer.fails, details: 'failed' } as ServiceError)
    else if (answer.after === undefined) done(null, responseOf(answer.rls))
    else void answer.after.then(() => done(null, responseOf(answer.rls)))
  }
}

function responseOf(json: object): RateLimitResponse {
  const plain = JSON.parse(JSON.stringify(json)) as JsonValue
  return fromJson(schemaOf(RESPONSE), plain, { registry: registry() }) as unknown as RateLimitResponse
}

/** An entry of http_filters that asks the cluster `rls`. */
export function rateLimitFilter(config: object = {}): object {
  return {
    name: 'envoy.filters.http.ratelimit',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit',
      domain: 'shop',
      timeout: '5s',
      rate_limit_service: rateLimitService(),
      ...config,
    },
  }
}

/** `rate_limit_service` at a cluster. */
export const rateLimitService = (cluster = 'rls'): object => ({
  transport_api_version: 'V3',
  grpc_service: { envoy_grpc: { cluster_name: cluster } },
})

/** A per-route config for the filter. */
export function rateLimitRoute(config: object): object {
  const type = 'type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute'
  return { typed_per_filter_config: { 'envoy.filters.http.ratelimit': { '@type': type, ...config } } }
}
