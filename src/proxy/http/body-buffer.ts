/** Body bytes that wait: copies, since a codec's chunks live in its read buffer. */
export class BodyBuffer {
  private chunks: Buffer[] = []
  length = 0

  /** Keeps a copy of `chunk`. */
  append(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.chunks.push(Buffer.from(chunk))
    this.length += chunk.length
  }

  /** All of it as one piece. */
  bytes(): Buffer {
    if (this.chunks.length > 1) this.chunks = [Buffer.concat(this.chunks)]
    return this.chunks[0] ?? EMPTY
  }

  /** Replaces what is held. */
  replace(bytes: Uint8Array): void {
    this.clear()
    this.append(bytes)
  }

  /** The pieces, which are the caller's now; the buffer is empty. */
  take(): Buffer[] {
    const { chunks } = this
    this.chunks = []
    this.length = 0
    return chunks
  }

  clear(): void {
    this.chunks = []
    this.length = 0
  }
}

/** No bytes. */
export const EMPTY: Buffer = Buffer.alloc(0)
