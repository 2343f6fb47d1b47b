const KEYS = new Set(['by', 'hash', 'cert', 'chain', 'subject', 'uri', 'dns'])

/** Splits at a separator that is not inside double quotes; undefined when a quote is left open. */
function splitOutsideQuotes(text: string, separator: string): string[] | undefined {
  const parts: string[] = []
  let quoted = false
  let start = 0
  let backslashes = 0
  for (let i = 0; i < text.length; i++) {
    const ch = text[i]!
    if (ch === '\\') {
      backslashes++
      continue
    }
    if (ch === '"' && backslashes % 2 === 0) quoted = !quoted
    else if (ch === separator && !quoted) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
    backslashes = 0
  }
  parts.push(text.slice(start))
  return quoted ? undefined : parts
}

function unquote(value: string): string {
  const inner = value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
  return inner.replace(/\\(["\\])/g, '$1')
}

/** Checks a key of %XFCC_VALUE(key)%, and lower-cases it. */
export function xfccKey(key: string): string {
  if (key === '') throw new Error('XFCC_VALUE command requires a subcommand')
  const lower = key.toLowerCase()
  if (!KEYS.has(lower)) throw new Error(`XFCC_VALUE command does not support subcommand: ${lower}`)
  return lower
}

/** The first value of a key (lower case) in x-forwarded-client-cert (source/extensions/formatter/xfcc_value/xfcc_value.cc). */
export function xfccValue(header: string, key: string): string | undefined {
  for (const element of splitOutsideQuotes(header, ',') ?? []) {
    for (const pair of splitOutsideQuotes(element, ';') ?? []) {
      const equals = pair.indexOf('=')
      const name = equals < 0 ? pair : pair.slice(0, equals)
      if (name.trim().toLowerCase() === key) return equals < 0 ? '' : unquote(pair.slice(equals + 1).trim())
    }
  }
  return undefined
}
