import { latin1 } from '../http/bytes.ts'
import { LF } from './chars.ts'

/** How a message spelt its header names, for the other side to write them alike (source/extensions/http/header_formatters/preserve_case). */
export interface Spelling {
  /** As they first came, by their lower-case forms. */
  readonly names: ReadonlyMap<string, string>
  /** Names that the message did not have are written `X-Request-Id`, not `x-request-id`. */
  readonly capitalisesOthers: boolean
}

const COLON = 58

/** Remembers the names of the header lines in `src` from `pos` to `end`. */
export function rememberSpelling(src: Buffer, pos: number, end: number, capitalisesOthers: boolean): Spelling {
  const names = new Map<string, string>()
  let p = pos
  while (p < end) {
    const stop = src.indexOf(LF, p)
    const line = stop < 0 ? end : stop
    const colon = src.indexOf(COLON, p)
    if (colon > p && colon < line) {
      const name = latin1(src, p, colon)
      const lower = name.toLowerCase()
      if (!names.has(lower)) names.set(lower, name)
    }
    p = line + 1
  }
  return { names, capitalisesOthers }
}

/** Writes the names of the lines in `to` from `at` to `end`, which are in lower case, as they were spelt. */
export function respell(to: Buffer, at: number, end: number, spelling: Spelling): void {
  let p = at
  while (p < end) {
    const stop = to.indexOf(LF, p)
    const line = stop < 0 ? end : stop
    const colon = to.indexOf(COLON, p)
    if (colon > p && colon < line) {
      const lower = latin1(to, p, colon)
      const name = spelling.names.get(lower) ?? (spelling.capitalisesOthers ? capitalised(lower) : lower)
      to.write(name, p, 'latin1')
    }
    p = line + 1
  }
}

function capitalised(name: string): string {
  return name.replace(/(^|-)([a-z])/g, (_all, dash: string, letter: string) => dash + letter.toUpperCase())
}
