import type { RuntimeFeatureFlag, RuntimeFractionalPercent } from '#gen/envoy/config/core/v3/base_pb.js'
import { Fraction } from './http/router/fraction.ts'

/** What the bootstrap's runtime layers set, by key. */
export type RuntimeValues = ReadonlyMap<string, string | number | boolean>

/** A switch that a runtime key may turn (source/common/runtime/runtime_protos.h FeatureFlag); on where it is absent. */
export function featureEnabled(flag: RuntimeFeatureFlag | undefined, values: RuntimeValues | undefined): boolean {
  const preset = flag?.defaultValue ?? true
  const value = flag === undefined ? undefined : values?.get(flag.runtimeKey)
  return typeof value === 'boolean' ? value : preset
}

/** A number that a runtime key may set; `preset` where it sets none (source/common/runtime/runtime_impl.cc getDouble). */
export function runtimeNumber(key: string | undefined, preset: number, values: RuntimeValues | undefined): number {
  const value = key === undefined ? undefined : values?.get(key)
  if (typeof value === 'number') return value
  const parsed = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN
  return Number.isNaN(parsed) ? preset : parsed
}

/** A whole percentage that a runtime key may set; `preset` where it sets none, or less than 0 (getInteger there). */
export function runtimePercent(key: string, preset: number, values: RuntimeValues | undefined): number {
  const percent = Math.floor(runtimeNumber(key, preset, values))
  return percent < 0 ? preset : percent
}

const DENOMINATORS: Readonly<Record<string, number>> = { HUNDRED: 100, TEN_THOUSAND: 10_000, MILLION: 1_000_000 }

/**
 * The share that a runtime key sets, as a FractionalPercent or as a bare number of percent; undefined where it sets none
 * (source/common/runtime/runtime_impl.cc featureEnabled).
 */
export function runtimeShare(key: string, values: RuntimeValues | undefined): Fraction | undefined {
  if (key === '' || values === undefined) return undefined
  const numerator = values.get(`${key}.numerator`)
  const parts = values.get(`${key}.denominator`)
  const denominator = DENOMINATORS[String(parts ?? 'HUNDRED')]
  if ((typeof numerator === 'number' || parts !== undefined) && denominator !== undefined)
    return new Fraction(Number(numerator ?? 0), denominator)
  const percent = runtimeNumber(key, -1, values)
  return percent >= 0 ? new Fraction(Math.min(Math.floor(percent), 100), 100) : undefined
}

/** A share that a runtime key may set. `absent`: percent where there is no message. */
export function runtimeFraction(
  config: RuntimeFractionalPercent | undefined,
  absent: number,
  values: RuntimeValues | undefined,
): Fraction {
  return runtimeShare(config?.runtimeKey ?? '', values) ?? Fraction.ofRuntime(config, absent)
}
