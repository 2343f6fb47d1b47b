const UNITS: Record<string, number> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}
const PART = '(?:\\d+\\.?\\d*|\\.\\d+)(?:ns|us|µs|μs|ms|s|m|h)'
const WHOLE = new RegExp(`^[+-]?(?:0|(?:${PART})+)$`)
const PARTS = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g

/** Whether `text` is a duration in Go's notation (time.ParseDuration), which is what Istio's API takes. */
export function isDuration(text: string): boolean {
  return WHOLE.test(text)
}

/** The milliseconds of a duration in Go's notation (`1h30m`, `1.5s`, `-2ms`); throws a RangeError for anything else. */
export function parseDuration(text: string): number {
  if (!isDuration(text)) throw new RangeError(`not a duration: ${JSON.stringify(text)}`)
  let nanos = 0
  for (const [, amount, unit] of text.matchAll(PARTS))
    nanos += Math.round(Number(amount) * (UNITS[unit as string] as number) * 1e6)
  return (text.startsWith('-') ? -nanos : nanos) / 1e6
}
