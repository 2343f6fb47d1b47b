const ALPHABET = /^[A-Za-z0-9+/]*$/

/**
 * Decodes base64 with or without its padding; undefined for what is none: other characters, a last character alone, or
 * bits left over (source/common/common/base64.cc decodeWithoutPadding).
 */
export function decodeBase64(text: string): Buffer | undefined {
  const digits = text.endsWith('==') ? text.slice(0, -2) : text.endsWith('=') ? text.slice(0, -1) : text
  if (!ALPHABET.test(digits) || digits.length % 4 === 1) return undefined
  const bytes = Buffer.from(digits, 'base64')
  return bytes.toString('base64').replace(/=+$/, '') === digits ? bytes : undefined
}
