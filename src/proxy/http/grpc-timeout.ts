import type { RequestHead } from './headers.ts'
import { H } from './names.ts'

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

/** The value of `grpc-timeout` in ms; undefined when absent or malformed. */
export function grpcTimeout(request: RequestHead): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(request.get(H.grpcTimeout) ?? '')
  return match ? Math.ceil(Number(match[1]) * UNITS[match[2]!]!) : undefined
}

/** The most that eight digits hold. */
const MOST = 99_999_999
/** Units from the finest that is used, each with how many of it make one of the next. */
const WRITTEN = [
  ['m', 1000],
  ['S', 60],
  ['M', 60],
] as const

/**
 * Milliseconds as a `grpc-timeout`, of at most eight digits in the finest unit that they suffice for; what is less than
 * one of it is left out (source/common/grpc/common.cc toGrpcTimeout).
 */
export function formatGrpcTimeout(ms: number): string {
  let value = Math.floor(ms)
  for (const [unit, next] of WRITTEN) {
    if (value <= MOST) return `${value}${unit}`
    value = Math.floor(value / next)
  }
  return `${Math.min(value, MOST)}H`
}
