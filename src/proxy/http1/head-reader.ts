import type { HeaderMap } from '../http/headers.ts'

import { HeadScanner } from './head-scanner.ts'
import { INCOMPLETE } from './lines.ts'
import type { Http1Limits } from './settings.ts'

/** Parses the head that starts at `pos`: the position behind it, INCOMPLETE, or another negative number for an error. */
export interface HeadParser<Head extends HeaderMap> {
  parse(src: Buffer, pos: number, end: number, head: Head): number
  /** Whether line ends before a head are skipped. */
  readonly skipsLineEnds: boolean
  /** Refuses a head by its first byte alone, so that what is no HTTP need not be waited for. False: go on. */
  rejectFirst(byte: number): boolean
  /** Refuses a head for its size. */
  rejectSize(): void
}

/** The head was refused; the parser knows why. */
export const REFUSED = -2

/**
 * Reads heads wherever they begin and end in what arrives: in place when a head comes whole, which it nearly
 * always does, else through a scanner that collects it first.
 */
export class HeadReader<Head extends HeaderMap> {
  private readonly parser: HeadParser<Head>
  private readonly scanner: HeadScanner

  constructor(parser: HeadParser<Head>, limits: Http1Limits) {
    this.parser = parser
    this.scanner = new HeadScanner(limits.maxHeadersKb * 1024, parser.skipsLineEnds)
  }

  /** No part of a head is waiting for the rest. */
  get isEmpty(): boolean {
    return this.scanner.isEmpty
  }

  /** Returns the position behind the head, INCOMPLETE (all bytes were taken), or REFUSED. */
  read(src: Buffer, pos: number, end: number, head: Head): number {
    if (this.scanner.isEmpty) {
      const stop = this.parser.parse(src, pos, end, head)
      if (stop >= 0) return stop
    }
    const stop = this.scanner.take(src, pos, end)
    if (stop < 0) return this.partial()
    const whole = this.scanner.bytes
    const result = this.parser.parse(whole, 0, whole.length, head)
    this.scanner.clear()
    if (result >= 0) return stop
    return REFUSED
  }

  private partial(): number {
    const first = this.scanner.firstByte
    if (first === undefined) {
      // Only line ends so far: nothing to keep.
      this.scanner.clear()
      return INCOMPLETE
    }
    if (this.parser.rejectFirst(first)) return REFUSED
    if (!this.scanner.tooLarge) return INCOMPLETE
    this.parser.rejectSize()
    return REFUSED
  }
}
