import { parseDuration } from '../../api/duration.ts'

/** When keys are fetched, in milliseconds (pilot/pkg/model/jwks_resolver.go). */
export interface JwksSettings {
  /** From one refresh to the next (PILOT_JWT_PUB_KEY_REFRESH_INTERVAL). Default 20 min. */
  readonly refresh: number
  /** To the next one after a failure; doubled from failure to failure. Default 1 min. */
  readonly refreshOnFailure: number
  /** What that is doubled up to. Default 60 min. */
  readonly maxRefreshOnFailure: number
  /** Between the tries of one refresh. Default 1 s. */
  readonly retry: number
  /** More tries in one refresh, as far as the timeout goes. Default 7. */
  readonly retries: number
  /** After which keys that nobody needed, or that could not be refreshed, are forgotten. Default 7 days. */
  readonly eviction: number
}

const MINUTE = 60_000

/** The settings that an environment asks for. */
export function jwksSettings(variable: (name: string) => string): JwksSettings {
  return {
    refresh: positive(variable('PILOT_JWT_PUB_KEY_REFRESH_INTERVAL')) ?? 20 * MINUTE,
    refreshOnFailure: MINUTE,
    maxRefreshOnFailure: 60 * MINUTE,
    retry: 1000,
    retries: 7,
    eviction: 7 * 24 * 60 * MINUTE,
  }
}

function positive(text: string): number | undefined {
  try {
    const ms = parseDuration(text)
    return ms > 0 ? ms : undefined
  } catch {
    return undefined
  }
}
