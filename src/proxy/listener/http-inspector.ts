/** ALPN-like names that source/extensions/filters/listener/http_inspector gives to plaintext. */
export type HttpVerdict = 'more' | 'not-http' | 'too-large' | 'http/1.0' | 'http/1.1' | 'h2c'

/** The most that a request line may take while its version is looked for. */
export const MAX_INSPECT_BYTES = 64 * 1024

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')
const LF = 10
const CR = 13
const SPACE = 32

/** Token characters of a method name (RFC 9110 section 5.6.2). */
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** Looks at the first bytes of a plaintext connection for the protocol that they speak. */
export function inspectHttp(bytes: Buffer): HttpVerdict {
  if (bytes.length === 0) return 'more'
  const common = Math.min(bytes.length, PREFACE.length)
  if (bytes.compare(PREFACE, 0, common, 0, common) === 0) return bytes.length >= PREFACE.length ? 'h2c' : 'more'
  if (bytes[0] === CR || bytes[0] === LF) return 'not-http'
  const lineEnd = bytes.indexOf(LF)
  if (lineEnd < 0) {
    if (!couldBeRequestLine(bytes)) return 'not-http'
    return bytes.length >= MAX_INSPECT_BYTES ? 'too-large' : 'more'
  }
  return versionOf(bytes.toString('latin1', 0, lineEnd).replace(/\r$/, ''))
}

/** Bytes before the first space must be a method's. */
function couldBeRequestLine(bytes: Buffer): boolean {
  const space = bytes.indexOf(SPACE)
  return METHOD.test(bytes.toString('latin1', 0, space < 0 ? bytes.length : space))
}

function versionOf(line: string): HttpVerdict {
  const parts = line.trimEnd().split(/[ \t]+/)
  if (!METHOD.test(parts[0] ?? '')) return 'not-http'
  // Without a version it is HTTP/0.9, which counts as 1.0.
  if (parts.length === 2) return parts[1] ? 'http/1.0' : 'not-http'
  const version = /^HTTP\/(\d)\.(\d)$/.exec(parts.length === 3 ? parts[2]! : '')
  if (!version) return 'not-http'
  return version[1] === '1' && version[2] === '1' ? 'http/1.1' : 'http/1.0'
}
