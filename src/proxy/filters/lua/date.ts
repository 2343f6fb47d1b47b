const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
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
]

const two = (n: number): string => String(n).padStart(2, '0')

/** A time in seconds since the epoch in C's `strftime` format and locale; `utc` or this machine's zone. */
export function formatTime(format: string, seconds: number, utc: boolean): string {
  const at = new Date(seconds * 1000)
  // With the offset taken in, the fields of UTC are those of the zone.
  const offset = utc ? 0 : -at.getTimezoneOffset()
  const d = new Date(at.getTime() + offset * 60_000)
  const year = d.getUTCFullYear()
  const month = d.getUTCMonth()
  const weekday = d.getUTCDay()
  const hour = d.getUTCHours()
  const dayOfYear = Math.floor((Date.UTC(year, month, d.getUTCDate()) - Date.UTC(year, 0, 1)) / 86_400_000)
  const one = (kind: string): string | undefined => {
    switch (kind) {
      case 'a':
        return DAYS[weekday]!.slice(0, 3)
      case 'A':
        return DAYS[weekday]
      case 'b':
      case 'h':
        return MONTHS[month]!.slice(0, 3)
      case 'B':
        return MONTHS[month]
      case 'c':
        return all('%a %b %e %H:%M:%S %Y')
      case 'C':
        return two(Math.floor(year / 100))
      case 'd':
        return two(d.getUTCDate())
      case 'D':
      case 'x':
        return all('%m/%d/%y')
      case 'e':
        return String(d.getUTCDate()).padStart(2)
      case 'F':
        return all('%Y-%m-%d')
      case 'H':
        return two(hour)
      case 'I':
        return two(hour % 12 || 12)
      case 'j':
        return String(dayOfYear + 1).padStart(3, '0')
      case 'm':
        return two(month + 1)
      case 'M':
        return two(d.getUTCMinutes())
      case 'n':
        return '\n'
      case 'p':
        return hour < 12 ? 'AM' : 'PM'
      case 'r':
        return all('%I:%M:%S %p')
      case 'R':
        return all('%H:%M')
      case 's':
        return String(Math.floor(seconds))
      case 'S':
        return two(d.getUTCSeconds())
      case 't':
        return '\t'
      case 'T':
      case 'X':
        return all('%H:%M:%S')
      case 'u':
        return String(weekday || 7)
      case 'U':
        return two(Math.floor((dayOfYear + 7 - weekday) / 7))
      case 'w':
        return String(weekday)
      case 'W':
        return two(Math.floor((dayOfYear + 7 - ((weekday + 6) % 7)) / 7))
      case 'y':
        return two(year % 100)
      case 'Y':
        return String(year)
      case 'z': {
        const minutes = Math.abs(offset)
        return `${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}${two(minutes % 60)}`
      }
      case 'Z':
        return utc ? 'GMT' : zone(at)
      case '%':
        return '%'
      default:
        return undefined
    }
  }
  const all = (text: string): string => text.replace(/%(.)/gs, (whole, kind: string) => one(kind) ?? whole)
  return all(format)
}

const zone = (at: Date): string =>
  new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' }).formatToParts(at).find((p) => p.type === 'timeZoneName')
    ?.value ?? ''
