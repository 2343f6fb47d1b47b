/** Methods every Buffer of Node has, though its types leave them out: they skip the argument handling of `toString` and `write`. */
interface DirectBuffer {
  latin1Slice(start: number, end: number): string
  latin1Write(text: string, at: number): number
  utf8Write(text: string, at: number): number
}

/** The bytes as text, one character each. */
export function latin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as unknown as DirectBuffer).latin1Slice(start, end)
}

/**
 * Writes a header value as latin1, which is how values are read from the wire; one with a character
 * beyond latin1 was written in config and leaves as UTF-8. CR, LF and NUL never leave. Needs room for
 * three bytes per character; returns the end.
 */
export function writeValue(value: string, to: Buffer, at: number): number {
  let p = at
  for (let k = 0; k < value.length; k++) {
    const c = value.charCodeAt(k)
    if (c > 255) return at + (to as unknown as DirectBuffer).utf8Write(value.replace(/[\r\n\0]/g, ''), at)
    if (c !== 13 && c !== 10 && c !== 0) to[p++] = c
  }
  return p
}

/** Up to here a loop beats the native copy, which makes a view first. */
const BY_HAND = 384

/** Copies a range. Returns the end. */
export function copyBytes(from: Buffer, start: number, end: number, to: Buffer, at: number): number {
  const n = end - start
  if (n <= BY_HAND) {
    for (let k = 0; k < n; k++) to[at + k] = from[start + k]!
  } else {
    from.copy(to, at, start, end)
  }
  return at + n
}
