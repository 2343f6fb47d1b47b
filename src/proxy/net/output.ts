import type net from 'node:net'
import { getSystemErrorName } from 'node:util'
import { type Chunk, chunkCapacity, releaseChunk, takeChunk } from './chunk.ts'
import { type StreamHandle, streamBinding, type WriteRequest } from './handle.ts'
import { flushAtTurnEnd } from './turn.ts'

/** Whom the output tells what happened. */
export interface OutputOwner {
  /** A write failed with this system code. */
  onWriteError(code: string): void
  /** The amount that waits fell below half of the limit after it had passed it. */
  onOutputDrained(): void
  /** Everything given so far has left the process. Asked for by `finish`. */
  onOutputFinished(): void
}

/**
 * What waits to be written on one connection. Bytes are collected in a chunk and leave at the end of the
 * turn in one write; while a write is under way further ones wait, since TLS takes one at a time.
 */
export class Output {
  /** Bytes waiting, those the kernel has not taken included. */
  waiting = 0
  private chunk: Chunk | undefined = undefined
  private full: Chunk[] = []
  /** Bytes of the write under way; 0: none. */
  private writing = 0
  /** The chunk they are in, unless the socket has taken them out of it. */
  private lent: Chunk | undefined = undefined
  private asked = false
  private above = false
  private finishing = false
  private closed = false
  private request: WriteRequest | undefined = undefined
  private readonly socket: net.Socket
  private readonly handle: StreamHandle | undefined
  private readonly copies: boolean
  private readonly limit: number
  private readonly owner: OutputOwner

  constructor(socket: net.Socket, handle: StreamHandle | undefined, limit: number, owner: OutputOwner) {
    this.socket = socket
    this.handle = handle
    this.copies = handle !== undefined && (socket as { encrypted?: boolean }).encrypted === true
    this.limit = limit > 0 ? limit : Number.POSITIVE_INFINITY
    this.owner = owner
  }

  /** A chunk with room for `n` bytes (at most `chunkCapacity`). Fill it from `chunk.end`, move `end`, then `commit`. */
  reserve(n: number): Chunk {
    const chunk = this.chunk
    if (chunk === undefined) {
      const fresh = takeChunk(n)
      this.chunk = fresh
      return fresh
    }
    if (chunk.end + n <= chunk.buf.length) return chunk
    const next = takeChunk(chunk.end + n <= chunkCapacity ? chunk.end + n : n)
    if (chunk.end + n <= next.buf.length) {
      next.buf.set(chunk.filled())
      next.end = chunk.end
      releaseChunk(chunk)
    } else {
      this.full.push(chunk)
    }
    this.chunk = next
    return next
  }

  /** Says how many bytes were put into the reserved chunk. False: above the limit. */
  commit(n: number): boolean {
    this.waiting += n
    if (!this.asked) {
      this.asked = true
      flushAtTurnEnd(this)
    }
    if (this.waiting <= this.limit) return true
    this.above = true
    return false
  }

  write(bytes: Uint8Array): boolean {
    let at = 0
    let room = true
    while (at < bytes.length) {
      const n = Math.min(bytes.length - at, chunkCapacity - 1024)
      const chunk = this.reserve(n)
      chunk.buf.set(n === bytes.length ? bytes : bytes.subarray(at, at + n), chunk.end)
      chunk.end += n
      room = this.commit(n)
      at += n
    }
    return room
  }

  /** Calls `onOutputFinished` once all is written, now if it is. */
  finish(): void {
    this.finishing = true
    this.flush()
  }

  /** Drops everything. */
  close(): void {
    this.closed = true
    if (this.chunk !== undefined) releaseChunk(this.chunk)
    this.chunk = undefined
    for (const chunk of this.full) releaseChunk(chunk)
    this.full.length = 0
  }

  /** Writes what there is, unless a write is under way already. */
  flush(): void {
    this.asked = false
    while (!this.closed && this.writing === 0) {
      let chunk: Chunk | undefined
      if (this.full.length > 0) {
        chunk = this.full.shift()!
      } else {
        chunk = this.chunk
        this.chunk = undefined
      }
      if (chunk === undefined || chunk.end === 0) {
        if (chunk !== undefined) releaseChunk(chunk)
        if (this.finishing) {
          this.finishing = false
          this.owner.onOutputFinished()
        }
        return
      }
      this.writing = chunk.end
      this.lent = chunk
      if (this.handle !== undefined) this.writeDirect(this.handle, chunk)
      else this.socket.write(chunk.filled(), this.written)
    }
  }

  private writeDirect(handle: StreamHandle, chunk: Chunk): void {
    const binding = streamBinding!
    let request = this.request
    if (request === undefined) {
      request = new binding.WriteWrap()
      request.oncomplete = this.completed
      this.request = request
    }
    const status = handle.writeBuffer(request, chunk.filled())
    if (status !== 0) {
      this.fail(getSystemErrorName(status))
    } else if (binding.streamBaseState[binding.kLastWriteWasAsync] === 0) {
      this.done()
    } else {
      // The request belongs to this write now; the next one gets another.
      this.request = undefined
      // TLS has encrypted or copied the bytes by now: the chunk, still warm, can serve the next connection.
      if (this.copies) this.release()
    }
  }

  private readonly completed = (status: number): void => {
    if (status < 0) this.fail(getSystemErrorName(status))
    else this.continue()
  }

  private readonly written = (error?: Error | null): void => {
    if (error) this.fail((error as NodeJS.ErrnoException).code ?? 'EPIPE')
    else this.continue()
  }

  private continue(): void {
    this.done()
    this.flush()
  }

  private done(): void {
    this.waiting -= this.writing
    this.writing = 0
    this.release()
    if (this.above && this.waiting <= this.limit / 2) {
      this.above = false
      if (!this.closed) this.owner.onOutputDrained()
    }
  }

  private release(): void {
    if (this.lent !== undefined) releaseChunk(this.lent)
    this.lent = undefined
  }

  private fail(code: string): void {
    this.writing = 0
    if (this.closed) return
    this.close()
    this.owner.onWriteError(code)
  }
}
