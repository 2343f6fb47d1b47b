/** Methods HTTP/1 takes: those of source/common/http/http1/balsa_parser.cc, and QUERY. */
const known = [
  'ACL',
  'BIND',
  'CHECKOUT',
  'CONNECT',
  'COPY',
  'DELETE',
  'GET',
  'HEAD',
  'LINK',
  'LOCK',
  'MERGE',
  'MKACTIVITY',
  'MKCALENDAR',
  'MKCOL',
  'MOVE',
  'MSEARCH',
  'NOTIFY',
  'OPTIONS',
  'PATCH',
  'POST',
  'PROPFIND',
  'PROPPATCH',
  'PURGE',
  'PUT',
  'QUERY',
  'REBIND',
  'REPORT',
  'SEARCH',
  'SOURCE',
  'SUBSCRIBE',
  'TRACE',
  'UNBIND',
  'UNLINK',
  'UNLOCK',
  'UNSUBSCRIBE',
]

/** Longest known method. */
export const maxMethodLength = Math.max(...known.map((m) => m.length))

const methods: ReadonlyMap<string, string> = new Map(known.map((m) => [m, m]))
const firstBytes = new Set(known.map((m) => m.charCodeAt(0)))

/** The method as a shared string, or undefined if HTTP/1 does not take it. */
export function knownMethod(name: string): string | undefined {
  return methods.get(name)
}

/** Whether a method may start with this byte: anything else is refused without waiting for more. */
export function startsMethod(byte: number): boolean {
  return firstBytes.has(byte)
}
