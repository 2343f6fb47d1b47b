import type { Any } from '@bufbuild/protobuf/wkt'
import { GRPC_CODES } from '../../api/grpc-codes.ts'
import type { CorsPolicy, HTTPFaultInjection, Percent } from '../../api/kinds/virtual-service.ts'
import { type Init, packed } from '../../xds/messages.ts'
import { duration, seconds } from '../proto.ts'
import { stringMatcher } from './match.ts'

type Fraction = Init<'envoy.type.v3.FractionalPercent'>

const HUNDRED = 0
const MILLION = 2

/** A percentage with up to four decimals. */
export const fraction = (percent: Percent): Fraction => ({
  numerator: Math.trunc((percent.value ?? 0) * 10_000),
  denominator: MILLION,
})

/** A percentage in whole numbers. */
export const wholeFraction = (numerator: number): Fraction => ({ numerator, denominator: HUNDRED })

/**
 * Faults as the filter's configuration of a route; undefined when neither delay nor abort is one that Envoy can do.
 * A percentage that is not stated is zero: such a fault never happens (TranslateFault).
 */
export function faultConfig(fault: HTTPFaultInjection): Any | undefined {
  const { delay, abort } = fault
  const delayed = delay?.fixedDelay !== undefined
  const status =
    abort?.httpStatus !== undefined
      ? ({ case: 'httpStatus', value: abort.httpStatus } as const)
      : abort?.grpcStatus !== undefined
        ? ({ case: 'grpcStatus', value: Math.max(0, GRPC_CODES.indexOf(abort.grpcStatus)) } as const)
        : undefined
  if (!delayed && !status) return undefined
  return packed('envoy.extensions.filters.http.fault.v3.HTTPFault', {
    delay: delayed
      ? {
          faultDelaySecifier: { case: 'fixedDelay', value: duration(delay.fixedDelay as string) },
          percentage: delay.percentage ? fraction(delay.percentage) : wholeFraction(delay.percent ?? 0),
        }
      : undefined,
    abort: status
      ? { errorType: status, percentage: abort?.percentage ? fraction(abort.percentage) : undefined }
      : undefined,
  })
}

/** Cross-origin rules as the filter's configuration of a route (TranslateCORSPolicy). */
export function corsConfig(cors: CorsPolicy): Any {
  const origins = cors.allowOrigins ?? cors.allowOrigin?.map((exact) => ({ exact })) ?? []
  return packed('envoy.extensions.filters.http.cors.v3.CorsPolicy', {
    allowOriginStringMatch: origins.flatMap((origin) => stringMatcher(origin) ?? []),
    allowMethods: (cors.allowMethods ?? []).join(','),
    allowHeaders: (cors.allowHeaders ?? []).join(','),
    exposeHeaders: (cors.exposeHeaders ?? []).join(','),
    maxAge: cors.maxAge === undefined ? '' : String(seconds(cors.maxAge)),
    allowCredentials: cors.allowCredentials,
    filterEnabled: { defaultValue: wholeFraction(100) },
    forwardNotMatchingPreflights: cors.unmatchedPreflights !== 'IGNORE',
  })
}
