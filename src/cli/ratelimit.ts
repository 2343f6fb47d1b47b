import { type Command, InvalidArgumentError, Option } from 'commander'
import { CliError } from './errors.ts'

/** A flag, and the variable of the reference's environment that it stands for. */
interface Flag {
  readonly flags: string
  readonly description: string
  readonly env: string
}

const FLAGS: readonly Flag[] = [
  { flags: '--host <address>', description: 'where to listen (default 127.0.0.1)', env: 'HOST' },
  { flags: '--grpc-port <port>', description: 'for proxies: the gRPC service (default 8081)', env: 'GRPC_PORT' },
  { flags: '--port <port>', description: 'HTTP: POST /json and /healthcheck (default 8080)', env: 'PORT' },
  { flags: '--debug-port <port>', description: '/rlconfig, /stats and /metrics (default 6070)', env: 'DEBUG_PORT' },
  {
    flags: '--redis-url <url>',
    description: 'count in a Redis, so that many services share one count: redis://, rediss://, HOST:PORT or a socket',
    env: 'REDIS_URL',
  },
  { flags: '--redis-timeout <duration>', description: 'how long a Redis may take (default 10s)', env: 'REDIS_TIMEOUT' },
  {
    flags: '--redis-per-second-url <url>',
    description: 'another Redis for the limits per second',
    env: 'REDIS_PERSECOND_URL',
  },
  {
    flags: '--near-limit-ratio <share>',
    description: 'from where on a hit counts as near its limit (default 0.8)',
    env: 'NEAR_LIMIT_RATIO',
  },
  {
    flags: '--local-cache-size <bytes>',
    description: 'remember what is over its limit, and do not ask Redis again (default 0: off)',
    env: 'LOCAL_CACHE_SIZE_IN_BYTES',
  },
  {
    flags: '--expiration-jitter <seconds>',
    description: 'keep counters so much longer at most, by chance (default 300)',
    env: 'EXPIRATION_JITTER_MAX_SECONDS',
  },
  { flags: '--key-prefix <text>', description: 'put before every key in Redis', env: 'CACHE_KEY_PREFIX' },
  { flags: '--shadow-mode', description: 'only count what would be over its limit', env: 'SHADOW_MODE' },
  { flags: '--quota-mode', description: 'over is only what is over in all its limits', env: 'QUOTA_MODE' },
  {
    flags: '--stop-increment-when-over-limit',
    description: 'a request that is over one limit does not count in the others',
    env: 'STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT',
  },
  {
    flags: '--response-headers',
    description: 'tell clients of their limits by RateLimit-Limit, -Remaining and -Reset',
    env: 'LIMIT_RESPONSE_HEADERS_ENABLED',
  },
  {
    flags: '--response-dynamic-metadata',
    description: 'give back the request and the metadata of its limits',
    env: 'RESPONSE_DYNAMIC_METADATA',
  },
  { flags: '--merge-domains', description: 'a domain may be spread over files', env: 'MERGE_DOMAIN_CONFIG' },
]

/** `dinghy ratelimit`: the rate-limit service that proxies ask, as Envoy's reference service. */
export function ratelimitCommand(program: Command): void {
  const command = program
    .command('ratelimit')
    .summary('a rate-limit service for proxies (rls.proto), counting in memory or in Redis')
    .description(
      "A rate-limit service (envoy.service.ratelimit.v3) that reads the descriptor YAML of Envoy's reference service, by " +
        'itself or in a ConfigMap, and follows its changes. The variables of the reference are honoured, too: flags ' +
        'override them.',
    )
    .argument('[paths...]', 'files and folders with limits (default: RUNTIME_ROOT/RUNTIME_SUBDIRECTORY/config)')
  for (const { flags, description, env } of FLAGS) {
    command.addOption(new Option(flags, `${description} [${env}]`).argParser(flags.includes('<') ? given : undefined!))
  }
  command.action(async (paths: string[], options: Readonly<Record<string, unknown>>) => {
    const env: Record<string, string | undefined> = { ...process.env }
    for (const { flags, env: name } of FLAGS) {
      const value = options[new Option(flags).attributeName()]
      if (value !== undefined) env[name] = String(value)
    }
    if (options.redisPerSecondUrl !== undefined) env.REDIS_PERSECOND = 'true'
    const { readSettings, SettingsError } = await import('../ratelimit/settings.ts')
    const { runRatelimit } = await import('./run-ratelimit.ts')
    try {
      await runRatelimit(readSettings(env, paths))
    } catch (error) {
      if (error instanceof SettingsError) throw new CliError(error.message, 2)
      throw error
    }
  })
}

function given(text: string): string {
  if (text === '') throw new InvalidArgumentError('It must not be empty.')
  return text
}
