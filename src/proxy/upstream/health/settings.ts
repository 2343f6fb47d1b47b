import type { HeaderMutation } from '../../http/router/header-mutation.ts'
import type { StringMatcher } from '../../http/router/string-matcher.ts'
import type { Metadata } from '../host.ts'

/** How the hosts of a cluster are asked whether they are well. Times in ms. */
export interface HealthCheckSettings {
  readonly timeout: number
  readonly interval: number
  readonly noTrafficInterval: number
  readonly noTrafficHealthyInterval: number
  readonly unhealthyInterval: number
  readonly unhealthyEdgeInterval: number
  readonly healthyEdgeInterval: number
  readonly initialJitter: number
  readonly intervalJitter: number
  readonly intervalJitterPercent: number
  readonly unhealthyThreshold: number
  readonly healthyThreshold: number
  /** Keep the connection from one check to the next. */
  readonly reuseConnection: boolean
  readonly alwaysLogFailures: boolean
  readonly alwaysLogSuccess: boolean
  /** Files that events are written to. */
  readonly logPaths: readonly string[]
  /** Instead of the cluster's own. */
  readonly alpn: readonly string[] | undefined
  /** Picks the transport socket instead of the host's metadata. */
  readonly socketMatch: Metadata | undefined
  readonly check: HttpCheck | TcpCheck | GrpcCheck
}

/** A range of statuses, the end left out. */
export type StatusRange = readonly [from: number, to: number]

/** One request, and which answers are good. */
export interface HttpCheck {
  readonly type: 'HTTP'
  readonly http2: boolean
  readonly method: string
  readonly path: string
  /** Empty: the host's own name for checks, else the cluster's. */
  readonly host: string
  readonly headers: HeaderMutation
  readonly body: Buffer | undefined
  readonly expected: readonly StatusRange[]
  readonly retriable: readonly StatusRange[]
  /** Byte strings that the body must hold, one after the other. */
  readonly receive: readonly Buffer[]
  /** Bytes of the body that are looked at; 0 = all. */
  readonly bufferSize: number
  /** What x-envoy-upstream-healthchecked-cluster must be. */
  readonly serviceName: StringMatcher | undefined
}

/** A connection, and what to say and to hear on it. */
export interface TcpCheck {
  readonly type: 'TCP'
  readonly send: Buffer | undefined
  readonly receive: readonly Buffer[]
  /** A PROXY header first: 1 or 2. */
  readonly proxyProtocol: 1 | 2 | undefined
}

/** A call of grpc.health.v1.Health/Check. */
export interface GrpcCheck {
  readonly type: 'GRPC'
  readonly service: string
  readonly authority: string
  readonly metadata: HeaderMutation
}

/** Why a check failed (envoy.data.core.v3.HealthCheckFailureType). */
export type FailureType = 'ACTIVE' | 'PASSIVE' | 'NETWORK' | 'NETWORK_TIMEOUT'

/** What a probe reports, once per start unless it timed out. */
export interface ProbeReport {
  passed(degraded: boolean): void
  /** `status`: the HTTP status, 0 when there was none. `retriable`: the threshold counts it, else it acts at once. */
  failed(type: FailureType, retriable: boolean, status: number): void
}

/** Asks one host, again and again, maybe over the same connection. */
export interface Probe {
  start(): void
  /** The time for the answer is over. */
  timedOut(): void
  close(): void
}
