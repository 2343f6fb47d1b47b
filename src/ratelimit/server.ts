import { readFileSync } from 'node:fs'
import { ServerCredentials } from '@grpc/grpc-js'
import type { Problem } from '../api/problems.ts'
import { hasErrors } from '../api/problems.ts'
import type { Runtime } from '../runtime.ts'
import { type Backend, SplitBackend } from './backend.ts'
import type { LoadedLimits } from './config.ts'
import { type GrpcDoor, rateLimitHandlers, serveGrpc } from './grpc.ts'
import { Health } from './health.ts'
import { debugRoutes, type HttpDoor, metricsRoute, serveHttp, serviceRoutes } from './http.ts'
import { Limiter } from './limiter.ts'
import { type LimitsSource, openLimits } from './limits-source.ts'
import { LocalCache } from './local-cache.ts'
import { MemoryBackend } from './memory.ts'
import { RedisBackend } from './redis.ts'
import { RateLimitService } from './service.ts'
import type { RedisSettings, Settings } from './settings.ts'
import { Stats } from './stats.ts'

/** Something to tell whoever runs the service. */
export type RateLimitEvent =
  | {
      readonly type: 'limits'
      readonly inForce: boolean
      readonly problems: readonly Problem[]
      readonly first: boolean
    }
  | { readonly type: 'redis'; readonly ready: boolean; readonly shown: string; readonly reason: string }

/** What a service is made of. */
export interface RateLimitServerOptions {
  readonly settings: Settings
  readonly runtime: Runtime
  readonly onEvent: (event: RateLimitEvent) => void
}

/** Where a service listens. */
export interface RateLimitAddresses {
  readonly grpc: string
  readonly http: string
  readonly debug: string
  /** Only where metrics have an address of their own. */
  readonly metrics: string | undefined
}

/** How long the service waits for its Redis before it listens without, ms. */
const WAIT_FOR_REDIS_MS = 2000
/** How long calls under way have when the service is told to end, ms. */
const DRAIN_MS = 5000

/**
 * A rate-limit service as envoyproxy/ratelimit is one: gRPC for proxies, HTTP for others, and a port to look inside
 * (src/service_cmd/runner, src/server).
 */
export class RateLimitServer {
  readonly addresses: RateLimitAddresses
  readonly stats: Stats
  readonly #grpc: GrpcDoor
  readonly #http: readonly HttpDoor[]
  readonly #health: Health
  readonly #source: LimitsSource
  readonly #backend: Backend

  private constructor(parts: {
    addresses: RateLimitAddresses
    stats: Stats
    grpc: GrpcDoor
    http: readonly HttpDoor[]
    health: Health
    source: LimitsSource
    backend: Backend
  }) {
    this.addresses = parts.addresses
    this.stats = parts.stats
    this.#grpc = parts.grpc
    this.#http = parts.http
    this.#health = parts.health
    this.#source = parts.source
    this.#backend = parts.backend
  }

  /**
   * Reads the limits and listens. Limits with errors are told by an event, and requests fail until they are mended; a Redis
   * that is not there is told likewise. Rejects when an address cannot be bound, or a file of TLS cannot be read.
   */
  static async start({ settings, runtime, onEvent }: RateLimitServerOptions): Promise<RateLimitServer> {
    const credentials = credentialsOf(settings)
    const stats = new Stats()
    const health = new Health()
    const { backend, known } = backendOf(settings, runtime, stats, health, onEvent)
    const localCache = localCacheOf(settings, runtime, stats)
    const limiter = new Limiter({
      backend,
      runtime,
      localCache,
      nearLimitRatio: settings.nearLimitRatio,
      keyPrefix: settings.keyPrefix,
      expirationJitterS: settings.expirationJitterS,
      stopIncrementWhenOverLimit: settings.stopIncrementWhenOverLimit,
    })
    const { shadowMode, quotaMode, headers, dynamicMetadata } = settings
    const service = new RateLimitService({ limiter, stats, shadowMode, quotaMode, headers, dynamicMetadata })
    if (settings.healthyWithConfig) health.set('config', false)
    const take = ({ limits, problems }: LoadedLimits, first: boolean) => {
      if (limits) {
        service.limits = limits
        stats.configLoadSuccess.inc()
        if (settings.healthyWithConfig) health.set('config', limits.domains.size > 0)
      } else stats.configLoadError.inc()
      onEvent({ type: 'limits', inForce: !hasErrors(problems), problems, first })
    }
    const source = await openLimits({
      paths: settings.paths,
      ignoreDotFiles: settings.ignoreDotFiles,
      merge: settings.mergeDomains,
      runtime,
      stats,
      onReload: (loaded) => take(loaded, false),
    })
    take(source.first, true)
    // Whoever starts a service and asks at once is not to find it without its Redis.
    await known
    const http: HttpDoor[] = []
    try {
      const { listen, metrics } = settings
      const answers = await serveHttp(listen.host, listen.port, serviceRoutes(service, health))
      http.push(answers)
      const debug = await serveHttp(listen.debugHost, listen.debugPort, debugRoutes(service, stats))
      http.push(debug)
      if (metrics) http.push(await serveHttp(metrics.host, metrics.port, { [metrics.path]: metricsRoute(stats) }))
      const grpc = await serveGrpc({
        address: listen.grpcSocket ? `unix:${listen.grpcSocket}` : joined(listen.grpcHost, listen.grpcPort),
        services: [rateLimitHandlers(service, stats, runtime), health.handlers()],
        credentials,
        runtime,
        maxAgeMs: settings.grpcMaxAgeMs,
        maxAgeGraceMs: settings.grpcMaxAgeGraceMs,
      })
      const addresses = {
        grpc: grpc.address,
        http: answers.address,
        debug: debug.address,
        metrics: metrics && http[2]!.address,
      }
      return new RateLimitServer({ addresses, stats, grpc, http, health, source, backend })
    } catch (error) {
      await Promise.all([source.close(), backend.close(), ...http.map((door) => door.drain())])
      throw error
    }
  }

  /** Takes no more calls, answers those under way, and ends. */
  async stop(): Promise<void> {
    this.#health.set('sigterm', false)
    this.#health.endWatches()
    await Promise.all([this.#grpc.drain(DRAIN_MS), ...this.#http.map((door) => door.drain())])
    await this.#source.close()
    await this.#backend.close()
  }
}

function joined(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function credentialsOf({ tls }: Settings): ServerCredentials {
  if (!tls) return ServerCredentials.createInsecure()
  const pair = { cert_chain: readFileSync(tls.cert), private_key: readFileSync(tls.key) }
  const roots = tls.clientCa ? readFileSync(tls.clientCa) : null
  return ServerCredentials.createSsl(roots, [pair], roots !== null)
}

function localCacheOf(settings: Settings, runtime: Runtime, stats: Stats): LocalCache | undefined {
  if (settings.localCacheBytes === 0) return undefined
  const cache = new LocalCache(runtime, settings.localCacheBytes)
  const gauges = {
    evacuateCount: () => cache.evictions,
    entryCount: () => cache.entries,
    hitCount: () => cache.hits,
    missCount: () => cache.lookups - cache.hits,
    lookupCount: () => cache.lookups,
  }
  for (const [name, read] of Object.entries(gauges)) stats.gauge(`ratelimit.localcache.${name}`, read)
  return cache
}

/** Where hits are counted; `known` resolves when each Redis was reached, or was not. */
function backendOf(
  settings: Settings,
  runtime: Runtime,
  stats: Stats,
  health: Health,
  onEvent: (event: RateLimitEvent) => void,
): { backend: Backend; known: Promise<void> } {
  const { redis, perSecondRedis, healthCheckRedis } = settings
  if (!redis) return { backend: new MemoryBackend(runtime), known: Promise.resolve() }
  let settled = () => {}
  const known = new Promise<void>((resolve) => {
    const timer = runtime.after(WAIT_FOR_REDIS_MS, resolve)
    settled = () => {
      timer.cancel()
      resolve()
    }
  })
  const ready = new Map<string, boolean>()
  const heardOf = new Set<string>()
  const open = ({ place, timeoutMs }: RedisSettings, pool: string) => {
    ready.set(pool, false)
    return new RedisBackend({
      place,
      runtime,
      stats,
      pool,
      timeoutMs,
      onState(isReady, reason) {
        // Once reached, a Redis counts as healthy, unless its connections are to be watched.
        ready.set(pool, isReady || (!healthCheckRedis && ready.get(pool) === true))
        health.set('redis', [...ready.values()].every(Boolean))
        heardOf.add(pool)
        if (heardOf.size === ready.size) settled()
        onEvent({ type: 'redis', ready: isReady, shown: place.shown, reason })
      },
    })
  }
  const others = open(redis, 'redis_pool')
  const backend = perSecondRedis ? new SplitBackend(open(perSecondRedis, 'redis_per_second_pool'), others) : others
  health.set('redis', false)
  return { backend, known }
}
