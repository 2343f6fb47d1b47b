import { strftime } from './strftime.ts'

/** Envoy's format of times without one of their own (source/common/common/utility.cc getDefaultDateFormat). */
const DEFAULT_UTC = '%Y-%m-%dT%H:%M:%E3SZ'
const DEFAULT_LOCAL = '%Y-%m-%dT%H:%M:%E3S%z'

const SUBSECONDS = /%[1-9*]?f|%s|%E[1-9*][Sf]/

type Part =
  | { readonly kind: 'second'; readonly format: string }
  | { readonly kind: 'epoch' }
  | { readonly kind: 'fraction'; readonly width: number | 'all'; readonly dot: boolean }

function parse(format: string): Part[] {
  const parts: Part[] = []
  let rest = format
  for (let found = SUBSECONDS.exec(rest); found; found = SUBSECONDS.exec(rest)) {
    const spec = found[0]
    let before = rest.slice(0, found.index)
    if (spec.endsWith('S')) before += '%S'
    if (before !== '') parts.push({ kind: 'second', format: before })
    if (spec === '%s') parts.push({ kind: 'epoch' })
    else {
      const width = spec === '%f' ? '9' : spec.at(-2)!
      parts.push({ kind: 'fraction', width: width === '*' ? 'all' : Number(width), dot: spec.endsWith('S') })
    }
    rest = rest.slice(found.index + spec.length)
  }
  if (rest !== '') parts.push({ kind: 'second', format: rest })
  return parts
}

function fraction(nanos: string, width: number | 'all', dot: boolean): string {
  const digits = width === 'all' ? nanos.replace(/0+$/, '') : nanos.slice(0, width)
  if (dot) return digits === '' ? '' : `.${digits}`
  return digits === '' ? '0' : digits
}

/**
 * Writes wall-clock times (ms since the epoch, fractions allowed) in one format: `absl::FormatTime`'s
 * conversions, `%s`, `%3f`/`%f`/`%*f`, `%E3S`/`%E*S`, `%E4f`. The part that only changes once a second is
 * kept (source/common/common/utility.cc DateFormatter).
 */
export function dateFormatter(format: string, local: boolean): (ms: number) => string {
  const parts = parse(format === '' ? (local ? DEFAULT_LOCAL : DEFAULT_UTC) : format)
  const rendered: string[] = parts.map(() => '')
  let second = Number.NaN

  const refresh = (now: number): void => {
    second = now
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!
      if (part.kind === 'epoch') rendered[i] = String(now)
      else if (part.kind === 'second') rendered[i] = strftime(part.format, now * 1000, local)
    }
  }
  // The usual case, `… %E3S…` with whole milliseconds, needs no nanosecond text.
  const first = parts[0]
  const middle = parts[1]
  if (
    parts.length === 3 &&
    first?.kind === 'second' &&
    middle?.kind === 'fraction' &&
    middle.width === 3 &&
    parts[2]!.kind === 'second'
  ) {
    return (ms) => {
      const now = Math.floor(ms / 1000)
      if (now !== second) refresh(now)
      const milli = Math.floor(ms - now * 1000)
      const digits = milli < 10 ? `00${milli}` : milli < 100 ? `0${milli}` : String(milli)
      return rendered[0]! + (middle.dot ? '.' : '') + digits + rendered[2]!
    }
  }
  return (ms) => {
    const now = Math.floor(ms / 1000)
    if (now !== second) refresh(now)
    let nanos = ''
    let out = ''
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!
      if (part.kind !== 'fraction') {
        out += rendered[i]!
        continue
      }
      // A double holds a wall clock to a quarter of a microsecond: digits past that would be noise.
      if (nanos === '') nanos = `${String(Math.floor((ms - now * 1000) * 1000)).padStart(6, '0')}000`
      out += fraction(nanos, part.width, part.dot)
    }
    return out
  }
}

const NEWLINE = /%[-_0^#]*[1-9]*(E|O)?n/

/** Refuses formats that would put a newline into a header. */
export function checkDateFormat(format: string): void {
  if (NEWLINE.test(format)) throw new Error('Invalid header configuration. Format string contains newline.')
}
