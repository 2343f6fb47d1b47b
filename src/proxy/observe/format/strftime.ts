const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] as const
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
] as const

/** Broken-down time in UTC or in the machine's zone. */
interface Clock {
  readonly year: number
  readonly month: number
  readonly day: number
  readonly hour: number
  readonly minute: number
  readonly second: number
  readonly weekday: number
  /** Minutes east of UTC. */
  readonly offset: number
  readonly zone: string
}

function clockOf(ms: number, local: boolean): Clock {
  const d = new Date(ms)
  if (!local) {
    return {
      year: d.getUTCFullYear(),
      month: d.getUTCMonth(),
      day: d.getUTCDate(),
      hour: d.getUTCHours(),
      minute: d.getUTCMinutes(),
      second: d.getUTCSeconds(),
      weekday: d.getUTCDay(),
      offset: 0,
      zone: 'UTC',
    }
  }
  const zone = new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' })
    .formatToParts(d)
    .find((p) => p.type === 'timeZoneName')
  return {
    year: d.getFullYear(),
    month: d.getMonth(),
    day: d.getDate(),
    hour: d.getHours(),
    minute: d.getMinutes(),
    second: d.getSeconds(),
    weekday: d.getDay(),
    offset: -d.getTimezoneOffset(),
    zone: zone?.value ?? 'UTC',
  }
}

const pad = (n: number, width: number, fill = '0'): string => String(n).padStart(width, fill)

function dayOfYear(c: Clock): number {
  return Math.round((Date.UTC(c.year, c.month, c.day) - Date.UTC(c.year, 0, 1)) / 86_400_000) + 1
}

/** ISO 8601 week and the year that it belongs to. */
function isoWeek(c: Clock): { year: number; week: number } {
  const thursday = new Date(Date.UTC(c.year, c.month, c.day + 4 - (c.weekday || 7)))
  const year = thursday.getUTCFullYear()
  return { year, week: Math.ceil(((thursday.getTime() - Date.UTC(year, 0, 1)) / 86_400_000 + 1) / 7) }
}

function zoneOffset(c: Clock, separator: string): string {
  const minutes = Math.abs(c.offset)
  return `${c.offset < 0 ? '-' : '+'}${pad(Math.floor(minutes / 60), 2)}${separator}${pad(minutes % 60, 2)}`
}

function conversion(letter: string, c: Clock): string | undefined {
  const hour12 = c.hour % 12 || 12
  switch (letter) {
    case 'Y':
      return String(c.year)
    case 'C':
      return pad(Math.floor(c.year / 100), 2)
    case 'y':
      return pad(c.year % 100, 2)
    case 'm':
      return pad(c.month + 1, 2)
    case 'd':
      return pad(c.day, 2)
    case 'e':
      return pad(c.day, 2, ' ')
    case 'H':
      return pad(c.hour, 2)
    case 'k':
      return pad(c.hour, 2, ' ')
    case 'I':
      return pad(hour12, 2)
    case 'l':
      return pad(hour12, 2, ' ')
    case 'M':
      return pad(c.minute, 2)
    case 'S':
      return pad(c.second, 2)
    case 'p':
      return c.hour < 12 ? 'AM' : 'PM'
    case 'P':
      return c.hour < 12 ? 'am' : 'pm'
    case 'a':
      return DAYS[c.weekday]!.slice(0, 3)
    case 'A':
      return DAYS[c.weekday]
    case 'b':
    case 'h':
      return MONTHS[c.month]!.slice(0, 3)
    case 'B':
      return MONTHS[c.month]
    case 'j':
      return pad(dayOfYear(c), 3)
    case 'u':
      return String(c.weekday || 7)
    case 'w':
      return String(c.weekday)
    case 'U':
      return pad(Math.floor((dayOfYear(c) + 6 - c.weekday) / 7), 2)
    case 'W':
      return pad(Math.floor((dayOfYear(c) + 6 - ((c.weekday + 6) % 7)) / 7), 2)
    case 'V':
      return pad(isoWeek(c).week, 2)
    case 'G':
      return String(isoWeek(c).year)
    case 'g':
      return pad(isoWeek(c).year % 100, 2)
    case 'z':
      return zoneOffset(c, '')
    case 'Z':
      return c.zone
    case 'D':
    case 'x':
      return `${pad(c.month + 1, 2)}/${pad(c.day, 2)}/${pad(c.year % 100, 2)}`
    case 'F':
      return `${c.year}-${pad(c.month + 1, 2)}-${pad(c.day, 2)}`
    case 'T':
    case 'X':
      return `${pad(c.hour, 2)}:${pad(c.minute, 2)}:${pad(c.second, 2)}`
    case 'R':
      return `${pad(c.hour, 2)}:${pad(c.minute, 2)}`
    case 'r':
      return `${pad(hour12, 2)}:${pad(c.minute, 2)}:${pad(c.second, 2)} ${c.hour < 12 ? 'AM' : 'PM'}`
    case 'c':
      return `${DAYS[c.weekday]!.slice(0, 3)} ${MONTHS[c.month]!.slice(0, 3)} ${pad(c.day, 2, ' ')} ${conversion('T', c)} ${c.year}`
    case 't':
      return '\t'
    case 'n':
      return '\n'
    case '%':
      return '%'
    default:
      return undefined
  }
}

/**
 * A time as `absl::FormatTime` writes it: strftime's conversions plus `%Ez`, `%E*z`, `%E4Y` and `%ET`; what
 * it does not know stays as written. Sub-second conversions are date-format.ts's.
 */
export function strftime(format: string, ms: number, local: boolean): string {
  const c = clockOf(ms, local)
  let out = ''
  for (let i = 0; i < format.length; i++) {
    const ch = format[i]!
    if (ch !== '%' || i + 1 === format.length) {
      out += ch
      continue
    }
    const rest = format.slice(i + 1)
    if (rest.startsWith('Ez') || rest.startsWith(':z')) {
      out += zoneOffset(c, ':')
      i += 2
    } else if (rest.startsWith('E*z')) {
      out += `${zoneOffset(c, ':')}:00`
      i += 3
    } else if (rest.startsWith('E4Y')) {
      out += pad(c.year, 4)
      i += 3
    } else if (rest.startsWith('ET')) {
      out += 'T'
      i += 2
    } else {
      const known = conversion(rest[0]!, c)
      out += known ?? `%${rest[0]}`
      i++
    }
  }
  return out
}
