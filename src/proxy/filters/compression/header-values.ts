import { type HeaderMap, type HeaderName, headerName } from '../../http/headers.ts'
import { H } from '../../http/names.ts'

/** Header names that compression is about. */
export const C = {
  acceptEncoding: headerName('accept-encoding'),
  cacheControl: headerName('cache-control'),
  contentEncoding: headerName('content-encoding'),
  etag: headerName('etag'),
  status: headerName('x-envoy-compression-status'),
  vary: headerName('vary'),
}

/** All lines of that name as one value; undefined if there is none. */
export function joined(head: HeaderMap, name: HeaderName): string | undefined {
  const first = head.get(name)
  if (first === undefined || head.find(name, head.find(name, 0) + 1) < 0) return first
  return head.values(name).join(',')
}

/** What stands before `mark`, trimmed; all of it where there is no such mark. */
export function before(text: string, mark: string): string {
  const at = text.indexOf(mark)
  return (at < 0 ? text : text.slice(0, at)).trim()
}

/** What stands behind `mark`; undefined where there is no such mark. */
export function after(text: string, mark: string): string | undefined {
  const at = text.indexOf(mark)
  return at < 0 ? undefined : text.slice(at + 1)
}

/** `cache-control: no-transform` */
export function forbidsTransform(head: HeaderMap): boolean {
  return head.hasToken(C.cacheControl, 'no-transform')
}

/** Whether a transfer coding that is itself a compression, `own` among them, is on the message. */
export function transferCompressed(head: HeaderMap, own: string): boolean {
  if (!head.has(H.transferEncoding)) return false
  return ['gzip', 'br', 'deflate', 'compress', 'zstd', own].some((coding) => head.hasToken(H.transferEncoding, coding))
}
