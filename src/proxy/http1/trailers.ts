import { HeaderMap } from '../http/headers.ts'
import { readLines } from './lines.ts'

/** Trailers as a map; undefined if there are none, 'invalid' if they are no header lines. */
export function readTrailers(bytes: Buffer, maxLines: number): HeaderMap | undefined | 'invalid' {
  const map = new HeaderMap(bytes.length + 64)
  if (readLines(bytes, 0, bytes.length, map, maxLines) < 0) return 'invalid'
  return map.count === 0 ? undefined : map
}
