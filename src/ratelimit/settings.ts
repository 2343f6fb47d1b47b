import path from 'node:path'
import { isDuration, parseDuration } from '../api/duration.ts'
import { type RedisPlace, redisPlace } from './redis-place.ts'
import type { HeaderNames } from './service.ts'

/** A Redis to count in. */
export interface RedisSettings {
  readonly place: RedisPlace
  /** How long a connection, or an answer, may take, ms. */
  readonly timeoutMs: number
}

/** How a rate-limit service runs. */
export interface Settings {
  /** Files and folders with limits. */
  readonly paths: readonly string[]
  readonly ignoreDotFiles: boolean
  readonly mergeDomains: boolean
  readonly listen: {
    readonly host: string
    readonly port: number
    readonly grpcHost: string
    readonly grpcPort: number
    /** A unix socket in the place of host and port; '' without. */
    readonly grpcSocket: string
    readonly debugHost: string
    readonly debugPort: number
  }
  /** An address of its own for metrics. */
  readonly metrics: { readonly host: string; readonly port: number; readonly path: string } | undefined
  /** Files of the gRPC server's TLS; undefined: plaintext. */
  readonly tls: { readonly cert: string; readonly key: string; readonly clientCa: string } | undefined
  readonly grpcMaxAgeMs: number
  readonly grpcMaxAgeGraceMs: number
  /** Undefined: counting in memory. */
  readonly redis: RedisSettings | undefined
  /** Another one for limits per second. */
  readonly perSecondRedis: RedisSettings | undefined
  readonly healthCheckRedis: boolean
  readonly healthyWithConfig: boolean
  readonly nearLimitRatio: number
  /** 0: no local cache. */
  readonly localCacheBytes: number
  readonly keyPrefix: string
  readonly expirationJitterS: number
  readonly stopIncrementWhenOverLimit: boolean
  readonly shadowMode: boolean
  readonly quotaMode: boolean
  readonly headers: HeaderNames | undefined
  readonly dynamicMetadata: boolean
}

/** The environment, or what stands for it: flags of the command line under the names of the variables that they override. */
export type Environment = Readonly<Record<string, string | undefined>>

/** Something in the environment, or on the command line, cannot be used. */
export class SettingsError extends Error {}

/** Variables of the reference that change answers and that there is nothing for here: refused unless they say so. */
const UNSUPPORTED: Readonly<Record<string, readonly string[]>> = {
  CONFIG_TYPE: ['FILE'],
  BACKEND_TYPE: ['redis', 'memory'],
  REDIS_TYPE: ['single'],
  REDIS_PERSECOND_TYPE: ['single'],
  USE_STATSD: ['false'],
  USE_DOG_STATSD: ['false'],
  PROMETHEUS_MAPPER_YAML: [],
  PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS: ['false'],
  EXTRA_TAGS: [],
  DISABLE_STATS: ['false'],
  TRACING_ENABLED: ['false'],
  GRPC_CLIENT_TLS_SAN: [],
}

/**
 * Reads the settings from the environment under the names of the reference (src/settings/settings.go of
 * envoyproxy/ratelimit) and with its defaults, but that hosts are 127.0.0.1, that hits are counted in memory where no Redis
 * is named, and that no statsd is told. `paths`: what to read instead of RUNTIME_ROOT. Throws a SettingsError.
 */
export function readSettings(env: Environment, paths: readonly string[]): Settings {
  for (const [name, allowed] of Object.entries(UNSUPPORTED)) {
    const value = env[name] ?? ''
    if (value === '' || allowed.some((one) => one.toLowerCase() === value.toLowerCase())) continue
    const instead = allowed.length > 0 ? `: only ${allowed.join(' and ')}` : ''
    throw new SettingsError(`${name}=${value} is not supported${instead}`)
  }
  const read = new Reader(env)
  const redisUrl = read.text('REDIS_URL', '')
  if (env.BACKEND_TYPE?.toLowerCase() === 'redis' && redisUrl === '')
    throw new SettingsError('BACKEND_TYPE=redis needs a REDIS_URL')
  const inMemory = redisUrl === '' || env.BACKEND_TYPE?.toLowerCase() === 'memory'
  if (inMemory && read.flag('REDIS_PERSECOND'))
    throw new SettingsError('REDIS_PERSECOND needs a REDIS_URL for the other limits')
  const host = read.text('HOST', '127.0.0.1')
  const from = sourcesOf(env, paths)
  return {
    ...from,
    ignoreDotFiles: read.flag('RUNTIME_IGNOREDOTFILES', paths.length > 0),
    mergeDomains: read.flag('MERGE_DOMAIN_CONFIG'),
    listen: {
      host,
      port: read.port('PORT', 8080),
      grpcHost: read.text('GRPC_HOST', host),
      grpcPort: read.port('GRPC_PORT', 8081),
      grpcSocket: read.text('GRPC_UDS', ''),
      debugHost: read.text('DEBUG_HOST', host),
      debugPort: read.port('DEBUG_PORT', 6070),
    },
    metrics: read.flag('USE_PROMETHEUS') ? metricsOf(read) : undefined,
    tls: read.flag('GRPC_SERVER_USE_TLS')
      ? {
          cert: read.needed('GRPC_SERVER_TLS_CERT', 'GRPC_SERVER_USE_TLS'),
          key: read.needed('GRPC_SERVER_TLS_KEY', 'GRPC_SERVER_USE_TLS'),
          clientCa: read.text('GRPC_CLIENT_TLS_CACERT', ''),
        }
      : undefined,
    grpcMaxAgeMs: read.duration('GRPC_MAX_CONNECTION_AGE', '24h'),
    grpcMaxAgeGraceMs: read.duration('GRPC_MAX_CONNECTION_AGE_GRACE', '1h'),
    redis: inMemory ? undefined : redisOf(read, 'REDIS_', redisUrl),
    perSecondRedis:
      !inMemory && read.flag('REDIS_PERSECOND')
        ? redisOf(read, 'REDIS_PERSECOND_', read.needed('REDIS_PERSECOND_URL', 'REDIS_PERSECOND'))
        : undefined,
    healthCheckRedis: read.flag('REDIS_HEALTH_CHECK_ACTIVE_CONNECTION'),
    healthyWithConfig: read.flag('HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED'),
    nearLimitRatio: read.number('NEAR_LIMIT_RATIO', 0.8),
    localCacheBytes: read.whole('LOCAL_CACHE_SIZE_IN_BYTES', 0),
    keyPrefix: read.text('CACHE_KEY_PREFIX', ''),
    expirationJitterS: read.whole('EXPIRATION_JITTER_MAX_SECONDS', 300),
    stopIncrementWhenOverLimit: read.flag('STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT'),
    shadowMode: read.flag('SHADOW_MODE'),
    quotaMode: read.flag('QUOTA_MODE'),
    headers: read.flag('LIMIT_RESPONSE_HEADERS_ENABLED')
      ? {
          limit: read.text('LIMIT_LIMIT_HEADER', 'RateLimit-Limit'),
          remaining: read.text('LIMIT_REMAINING_HEADER', 'RateLimit-Remaining'),
          reset: read.text('LIMIT_RESET_HEADER', 'RateLimit-Reset'),
        }
      : undefined,
    dynamicMetadata: read.flag('RESPONSE_DYNAMIC_METADATA'),
  }
}

function sourcesOf(env: Environment, paths: readonly string[]): { paths: readonly string[] } {
  if (paths.length > 0) return { paths }
  if (!env.RUNTIME_ROOT) throw new SettingsError('name the files or folders with the limits (or set RUNTIME_ROOT)')
  const { RUNTIME_ROOT, RUNTIME_SUBDIRECTORY = '', RUNTIME_APPDIRECTORY = 'config' } = env
  return { paths: [path.join(RUNTIME_ROOT, RUNTIME_SUBDIRECTORY, RUNTIME_APPDIRECTORY)] }
}

function metricsOf(read: Reader): { host: string; port: number; path: string } {
  const address = read.text('PROMETHEUS_ADDR', ':9090')
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(address)
  if (!match || Number(match[3]) > 65535) throw new SettingsError(`PROMETHEUS_ADDR=${address} is no HOST:PORT`)
  const host = match[1] ?? (match[2] || '127.0.0.1')
  return { host, port: Number(match[3]), path: read.text('PROMETHEUS_PATH', '/metrics') }
}

function redisOf(read: Reader, prefix: 'REDIS_' | 'REDIS_PERSECOND_', url: string): RedisSettings {
  const text = (name: string) => read.text(name, '')
  try {
    const place = redisPlace(url, {
      socketType: /:\/\//.test(url) ? '' : text(`${prefix}SOCKET_TYPE`),
      auth: text(`${prefix}AUTH`),
      tls: read.flag(`${prefix}TLS`),
      tlsCa: text('REDIS_TLS_CACERT'),
      tlsCert: text('REDIS_TLS_CLIENT_CERT'),
      tlsKey: text('REDIS_TLS_CLIENT_KEY'),
      tlsAnyName: read.flag('REDIS_TLS_SKIP_HOSTNAME_VERIFICATION'),
    })
    return { place, timeoutMs: read.duration(`${prefix}TIMEOUT`, '10s') }
  } catch (error) {
    if (error instanceof SettingsError) throw error
    throw new SettingsError((error as Error).message)
  }
}

/** Reads variables as github.com/kelseyhightower/envconfig does: an empty one counts as not set. */
class Reader {
  readonly #env: Environment

  constructor(env: Environment) {
    this.#env = env
  }

  text(name: string, otherwise: string): string {
    return this.#env[name] || otherwise
  }

  needed(name: string, by: string): string {
    return this.#env[name] || refuse(`${by} needs ${name}`)
  }

  flag(name: string, otherwise = false): boolean {
    const text = this.#env[name]
    if (!text) return otherwise
    if (/^(?:1|t|T|true|TRUE|True)$/.test(text)) return true
    if (/^(?:0|f|F|false|FALSE|False)$/.test(text)) return false
    return refuse(`${name}=${text} is neither true nor false`)
  }

  number(name: string, otherwise: number): number {
    const text = this.#env[name]
    if (!text) return otherwise
    const value = Number(text)
    return value >= 0 && value <= 1 ? value : refuse(`${name}=${text} is no share from 0 to 1`)
  }

  whole(name: string, otherwise: number): number {
    const text = this.#env[name]
    if (!text) return otherwise
    return /^\d{1,15}$/.test(text) ? Number(text) : refuse(`${name}=${text} is no whole number`)
  }

  port(name: string, otherwise: number): number {
    const value = this.whole(name, otherwise)
    return value <= 65535 ? value : refuse(`${name}=${value} is no port`)
  }

  /** In ms. */
  duration(name: string, otherwise: string): number {
    const text = this.text(name, otherwise)
    if (!isDuration(text) || parseDuration(text) <= 0) return refuse(`${name}=${text} is no duration such as 10s`)
    return parseDuration(text)
  }
}

function refuse(message: string): never {
  throw new SettingsError(message)
}
