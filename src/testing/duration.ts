import { isDuration, parseDuration } from '../api/duration.ts'

/** Milliseconds of a number of them, or of a duration such as `1m30s`. Throws a RangeError. */
export function milliseconds(by: number | string): number {
  if (typeof by === 'number') return by
  if (!isDuration(by) || by.startsWith('-')) throw new RangeError(`"${by}" is no duration such as 3m or 1m30s`)
  return parseDuration(by)
}
