import type { GrpcService as GrpcServiceProto } from '#gen/envoy/config/core/v3/grpc_service_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError } from '../context.ts'
import { durationMs, Problems } from './config.ts'
import { headersToSet, ownRetryPolicy } from './own-request-config.ts'
import { HeaderMutation } from './router/header-mutation.ts'
import type { RetryPolicy } from './router/retry-policy.ts'

/** A gRPC service that filters call, as configs name it: a cluster, and what goes with each call. */
export class GrpcService {
  readonly cluster: string
  /** `:authority` of the calls: the cluster's name, unless the config gives another. */
  readonly authority: string
  /** ms; undefined: the config does not say. */
  readonly timeout: number | undefined
  /** Headers that go with each call; they may speak of the request that it is for. */
  readonly metadata: HeaderMutation
  /** Bytes of the longest message that is read; 0: any. */
  readonly maxMessage: number
  /** Whether the headers by which Envoy tells of itself go along: `x-envoy-internal` and `x-forwarded-for`. */
  readonly envoyHeaders: boolean
  readonly retryPolicy: RetryPolicy | undefined

  /** Throws ConfigError: `google_grpc` is another client, which there is none of here. */
  constructor(config: GrpcServiceProto, runtime: Runtime) {
    const target = config.targetSpecifier
    if (target.case === 'googleGrpc') throw new ConfigError(['google_grpc: not supported; use envoy_grpc'])
    if (target.case === undefined) throw new ConfigError(['target_specifier: is required'])
    const problems = new Problems()
    const { clusterName, authority, maxReceiveMessageLength, skipEnvoyHeaders } = target.value
    if (clusterName === '') problems.add('envoy_grpc.cluster_name', 'value length must be at least 1 characters')
    this.retryPolicy = problems.collect('', () => ownRetryPolicy(config.retryPolicy))
    this.cluster = clusterName
    this.authority = authority === '' ? clusterName : authority
    this.timeout = durationMs(config.timeout)
    this.maxMessage = maxReceiveMessageLength ?? 0
    this.envoyHeaders = !skipEnvoyHeaders
    this.metadata =
      problems.collect('initial_metadata', () => headersToSet(config.initialMetadata, runtime)) ??
      new HeaderMutation([], [], runtime)
    problems.throwIfAny()
  }
}
