import { isUtf8 } from 'node:buffer'
import { fromBinary, type Message, toBinary } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import type { Duration } from '@bufbuild/protobuf/wkt'
import type { RateLimitServiceConfig } from '#gen/envoy/config/ratelimit/v3/rls_pb.js'
import type { RateLimitDescriptor_Entry } from '#gen/envoy/extensions/common/ratelimit/v3/ratelimit_pb.js'
import type { RateLimitResponse } from '#gen/envoy/service/ratelimit/v3/rls_pb.js'
import { make, schemaOf } from '../../../xds/messages.ts'
import { ConfigError, type ProxyContext } from '../../context.ts'
import { durationMs, Problems } from '../../http/config.ts'
import {
  type GrpcAnswer,
  type GrpcCallOptions,
  GrpcClient,
  type GrpcMethod,
  type GrpcPending,
} from '../../http/grpc-client.ts'
import { GrpcService } from '../../http/grpc-service.ts'
import type { Descriptor, DescriptorEntry } from '../../http/rate-limit/descriptor.ts'

const REQUEST = 'envoy.service.ratelimit.v3.RateLimitRequest'

/** The method that rate limit services have. */
const SHOULD_RATE_LIMIT: GrpcMethod = {
  service: 'envoy.service.ratelimit.v3.RateLimitService',
  method: 'ShouldRateLimit',
  response: 'envoy.service.ratelimit.v3.RateLimitResponse',
}

/** ApiVersion */
const V2 = 1
/** RateLimitResponse.Code */
const OVER_LIMIT = 2
const DEFAULT_TIMEOUT_MS = 20

/** What a service answered; `error`: nothing that is an answer. */
export interface LimitVerdict {
  readonly result: 'ok' | 'over limit' | 'error'
  readonly response: RateLimitResponse | undefined
}

/** A rate limit service that filters ask (source/extensions/filters/common/ratelimit/ratelimit_impl.cc). */
export class RateLimitService {
  private readonly client: GrpcClient
  private readonly timeout: number

  /** `timeout`: the filter's; 20 ms when absent, 0 is none. Throws ConfigError. */
  constructor(config: RateLimitServiceConfig | undefined, timeout: Duration | undefined, context: ProxyContext) {
    const problems = new Problems()
    if ((config?.transportApiVersion as number) === V2) {
      problems.add(
        'rate_limit_service.transport_api_version',
        'The v2 xDS major version has been removed and is no longer supported.',
      )
    }
    const service = problems.collect('rate_limit_service.grpc_service', () => {
      if (config?.grpcService === undefined) throw new ConfigError(['value is required'])
      return new GrpcService(config.grpcService, context.runtime)
    })
    problems.throwIfAny()
    this.client = new GrpcClient(service!, context)
    this.timeout = durationMs(timeout) ?? DEFAULT_TIMEOUT_MS
    // The first call has no more time than the others: what its messages need is made ready before.
    toBinary(schemaOf(REQUEST), make(REQUEST, {}) as unknown as Message)
    fromBinary(schemaOf(SHOULD_RATE_LIMIT.response), new Uint8Array())
  }

  /** Asks about a request. `done` is called once unless the call is cancelled, maybe before this returns. */
  limit(
    domain: string,
    descriptors: readonly Descriptor[],
    hitsAddend: number,
    options: Omit<GrpcCallOptions, 'timeout'>,
    done: (verdict: LimitVerdict) => void,
  ): GrpcPending {
    const request = make(REQUEST, {
      domain,
      hitsAddend,
      descriptors: descriptors.map(descriptorMessage),
    }) as unknown as Message
    const call = { ...options, timeout: this.timeout }
    return this.client.call(SHOULD_RATE_LIMIT, request, call, (answer) => done(verdictOf(answer)))
  }
}

function descriptorMessage({ entries, limit, hitsAddend, negativeHits }: Descriptor) {
  return {
    entries: entries.map(entryMessage),
    ...(limit === undefined ? {} : { limit }),
    ...(hitsAddend === undefined ? {} : { hitsAddend: BigInt(hitsAddend) }),
    isNegativeHits: negativeHits,
  }
}

function entryMessage({ key, value }: DescriptorEntry): RateLimitDescriptor_Entry {
  const bytes = Buffer.from(value, 'latin1')
  const text = isUtf8(bytes)
  const entry = make('envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry', {
    key: Buffer.from(key, 'latin1').toString('utf8'),
    value: text ? bytes.toString('utf8') : '',
  })
  // What is no text goes as it came, for the service to refuse.
  if (!text) entry.$unknown = [{ no: VALUE, wireType: WireType.LengthDelimited, data: lengthDelimited(bytes) }]
  return entry
}

/** The number of the field RateLimitDescriptor.Entry.value. */
const VALUE = 2

function lengthDelimited(bytes: Uint8Array): Uint8Array {
  return new BinaryWriter().bytes(bytes).finish()
}

function verdictOf({ response }: GrpcAnswer): LimitVerdict {
  if (response === undefined) return { result: 'error', response: undefined }
  const answer = response as unknown as RateLimitResponse
  return { result: (answer.overallCode as number) === OVER_LIMIT ? 'over limit' : 'ok', response: answer }
}
