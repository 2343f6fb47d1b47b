import { EMPTY } from '../../http/body-buffer.ts'

const FHCRC = 2
const FEXTRA = 4
const FNAME = 8
const FCOMMENT = 16
const RESERVED = 0xe0

/**
 * The header of a gzip member, read piece by piece (RFC 1952). node:zlib could read it too, but it also goes on to
 * further members and trips over what stands behind the last, where Envoy stops after the first.
 */
export class GzipHeader {
  done = false
  failed = false
  private held: Buffer = EMPTY

  /** What of the piece stands behind the header. */
  read(piece: Uint8Array): Uint8Array {
    if (this.done) return piece
    this.held = Buffer.concat([this.held, piece])
    const end = this.end(this.held)
    if (end < 0 || end > this.held.length) return EMPTY
    this.done = true
    return this.held.subarray(end)
  }

  /** Where the header ends; -1: not within these bytes. */
  private end(b: Buffer): number {
    const flags = b[3] ?? 0
    this.failed = isNot(b[0], 0x1f) || isNot(b[1], 0x8b) || isNot(b[2], 8) || (flags & RESERVED) !== 0
    if (this.failed || b.length < 10) return -1
    let at = 10
    if ((flags & FEXTRA) !== 0) {
      if (b.length < at + 2) return -1
      at += 2 + b.readUInt16LE(at)
    }
    for (const flag of [FNAME, FCOMMENT]) {
      if ((flags & flag) === 0) continue
      const zero = b.indexOf(0, at)
      if (zero < 0) return -1
      at = zero + 1
    }
    return (flags & FHCRC) === 0 ? at : at + 2
  }
}

function isNot(byte: number | undefined, wanted: number): boolean {
  return byte !== undefined && byte !== wanted
}

/** The checksum and length behind a gzip member's data. */
export class GzipTrailer {
  private held: Buffer = EMPTY

  /** Undefined until all of it is there; then whether it is right. */
  check(piece: Uint8Array, crc: number, length: number): boolean | undefined {
    if (this.held.length >= 8) return undefined
    this.held = Buffer.concat([this.held, piece])
    if (this.held.length < 8) return undefined
    return this.held.readUInt32LE(0) === crc && this.held.readUInt32LE(4) === length >>> 0
  }
}
