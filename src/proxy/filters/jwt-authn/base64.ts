const PLAIN = /^[\w-]*$/
const PADDED = /^([\w-]*)([=.]*)$/
const BLANK = /[ \t\n\v\f\r]+/g

/**
 * Decodes base64url as Abseil does (absl/strings/escaping.cc WebSafeBase64Unescape): blanks anywhere are skipped, padding
 * (`=`, or dots) is there in full or not at all, bits left over may be anything. Undefined for what is no base64url.
 */
export function decodeBase64Url(text: string): Buffer | undefined {
  if (PLAIN.test(text)) return text.length % 4 === 1 ? undefined : Buffer.from(text, 'base64url')
  const parts = PADDED.exec(text.replace(BLANK, ''))
  if (parts === null) return undefined
  const digits = parts[1]!
  const padding = parts[2]!.length
  const over = digits.length % 4
  if (over === 1) return undefined
  if (padding !== 0 && padding !== (4 - over) % 4) return undefined
  return Buffer.from(digits, 'base64url')
}
