/** Text as Lua has it: bytes. */
export const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))
/** The reverse. */
export const text = (value: Uint8Array | null): string => (value === null ? '' : Buffer.from(value).toString('latin1'))
/** What C takes for the string: up to the first zero byte. */
export const cString = (value: string): string => {
  const zero = value.indexOf('\0')
  return zero < 0 ? value : value.slice(0, zero)
}
