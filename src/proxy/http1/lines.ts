import type { HeaderMap } from '../http/headers.ts'
import { CR, LF, nameChar, SP, TAB, valueChar } from './chars.ts'

/** The bytes end before the head does. */
export const INCOMPLETE = -1
/** Not HTTP. */
export const BAD_SYNTAX = -2
/** A control character in a value. */
export const BAD_VALUE = -3
/** More lines than allowed. */
export const TOO_MANY = -4

/** Room kept ahead of the loops, so that they need no check of their own. */
const step = 256

/**
 * Reads header lines from `src` at `pos` up to and including the blank line that ends them, and enters them
 * into `map` in canonical form. Returns the position behind it, or one of the negative results above.
 *
 * Taken, as Envoy takes them, and re-written: bare LF as line end, spaces and tabs around values, CR inside a
 * value (dropped), a value continued on a line that starts with a space (source/common/http/http1/balsa_parser.cc).
 */
export function readLines(src: Buffer, pos: number, end: number, map: HeaderMap, maxLines: number): number {
  let p = pos
  let c = 0
  map.ensure(2 * step)
  let buf = map.buf
  let o = map.used
  for (;;) {
    if (p === end) return INCOMPLETE
    c = src[p]!
    if (c === LF) break
    if (c === CR) {
      if (p + 1 === end) return INCOMPLETE
      if (src[p + 1] !== LF) return BAD_SYNTAX
      p++
      break
    }
    if (map.lines >= maxLines) return TOO_MANY

    const at = o
    let hash = 0
    for (;;) {
      if (o + 2 * step > buf.length) {
        map.used = o
        map.ensure(2 * step)
        buf = map.buf
      }
      const stop = end - p < step ? end : p + step
      while (p < stop) {
        c = nameChar[src[p]!]!
        if (c === 0) break
        buf[o++] = c
        hash = (Math.imul(hash, 31) + c) | 0
        p++
      }
      if (p < stop) break
      if (stop === end) return INCOMPLETE
    }
    const nameLength = o - at
    if (nameLength === 0 || src[p] !== 58) return BAD_SYNTAX
    p++
    buf[o++] = 58
    buf[o++] = SP

    const valueAt = o
    while (p < end && (src[p] === SP || src[p] === TAB)) p++
    for (;;) {
      if (o + 2 * step > buf.length) {
        map.used = o
        map.ensure(2 * step)
        buf = map.buf
      }
      const stop = end - p < step ? end : p + step
      while (p < stop) {
        c = src[p]!
        if (valueChar[c] === 0) break
        buf[o++] = c
        p++
      }
      if (p === stop) {
        if (stop === end) return INCOMPLETE
        continue
      }
      p++
      if (c === CR) continue
      if (c !== LF) return BAD_VALUE
      if (p === end) return INCOMPLETE
      c = src[p]!
      if (c !== SP && c !== TAB) break
    }
    while (o > valueAt && (buf[o - 1] === SP || buf[o - 1] === TAB)) o--
    if (o > valueAt && (buf[valueAt] === SP || buf[valueAt] === TAB)) o = trimStart(buf, valueAt, o)
    map.enter(hash, at, nameLength, o - valueAt)
    buf[o++] = CR
    buf[o++] = LF
    map.used = o
  }
  return p + 1
}

/** Blanks can stand first only after a dropped CR or an empty first line of a continued value. */
function trimStart(buf: Buffer, start: number, end: number): number {
  let p = start
  while (buf[p] === SP || buf[p] === TAB) p++
  buf.copyWithin(start, p, end)
  return end - (p - start)
}
