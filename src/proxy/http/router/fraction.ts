import type { RuntimeFractionalPercent } from '#gen/envoy/config/core/v3/base_pb.js'
import type { FractionalPercent } from '#gen/envoy/type/v3/percent_pb.js'

const DENOMINATORS = [100, 10_000, 1_000_000]

/** A share of requests, `numerator` of `denominator`. */
export class Fraction {
  readonly numerator: number
  readonly denominator: number

  constructor(numerator: number, denominator: number) {
    this.numerator = numerator
    this.denominator = denominator
  }

  /** From the message; the default where it is absent. Values above the denominator mean always. */
  static of(config: FractionalPercent | undefined, absent = 0): Fraction {
    if (config === undefined) return new Fraction(absent, 100)
    return new Fraction(config.numerator, DENOMINATORS[config.denominator] ?? 100)
  }

  /** The default of a runtime-controlled fraction: there is no runtime layer that would override it. */
  static ofRuntime(config: RuntimeFractionalPercent | undefined, absent = 100): Fraction {
    return Fraction.of(config?.defaultValue, absent)
  }

  /** Whether `random`, an unsigned 32-bit integer, falls into the share. */
  hit(random: number): boolean {
    return random % this.denominator < this.numerator
  }

  get never(): boolean {
    return this.numerator === 0
  }

  toString(): string {
    return `${(100 * this.numerator) / this.denominator}%`
  }
}
