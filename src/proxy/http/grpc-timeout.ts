import type { RequestHead } from './headers.ts'
import { H } from './names.ts'

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

/** The value of `grpc-timeout` in ms; undefined when absent or malformed. */
export function grpcTimeout(request: RequestHead): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(request.get(H.grpcTimeout) ?? '')
  return match ? Math.ceil(Number(match[1]) * UNITS[match[2]!]!) : undefined
}

/** Milliseconds as a `grpc-timeout` of at most eight digits. */
export function formatGrpcTimeout(ms: number): string {
  return ms < 1e8 ? `${ms}m` : `${Math.ceil(ms / 1000)}S`
}
