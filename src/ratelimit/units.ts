/**
 * The units of time of a limit, by the numbers of envoy.service.ratelimit.v3.RateLimitResponse.RateLimit.Unit (those of
 * envoy.type.v3.RateLimitUnit are the same), and how many seconds each has. As src/utils/utilities.go of envoyproxy/ratelimit:
 * a month has 30 days, a year 365.
 */
const UNITS = [
  { name: 'SECOND', number: 1, seconds: 1 },
  { name: 'MINUTE', number: 2, seconds: 60 },
  { name: 'HOUR', number: 3, seconds: 3600 },
  { name: 'DAY', number: 4, seconds: 86_400 },
  { name: 'MONTH', number: 5, seconds: 2_592_000 },
  { name: 'YEAR', number: 6, seconds: 31_536_000 },
  { name: 'WEEK', number: 7, seconds: 604_800 },
] as const

/** The number of SECOND. */
export const UNIT_SECOND = 1

/** The number of a unit by its name, in any case; undefined for another word (UNKNOWN included). */
export function unitNumber(name: string): number | undefined {
  const upper = name.toUpperCase()
  return UNITS.find((unit) => unit.name === upper)?.number
}

/** The name of a unit, `UNKNOWN` for a number that is none. */
export function unitName(number: number): string {
  return UNITS.find((unit) => unit.number === number)?.name ?? 'UNKNOWN'
}

/** How many seconds a unit has; undefined for a number that is no unit. */
export function unitSeconds(number: number): number | undefined {
  return UNITS.find((unit) => unit.number === number)?.seconds
}
