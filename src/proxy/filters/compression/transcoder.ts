import type zlib from 'node:zlib'

/** A stream of node:zlib, of either kind. */
export type ZlibStream = zlib.Gzip | zlib.BrotliCompress | zlib.Gunzip | zlib.BrotliDecompress

/** How a transcoder deals with its stream. */
export interface TranscoderOptions {
  /** Let the library write its end; else what it has already written is all. */
  readonly writesEnd: boolean
  /** Most bytes out for each byte in, and how many more to let through; beyond that the stream is given up. */
  readonly ratio?: number
  readonly slack?: number
  /** How to flush a stream that does not by itself after each write. */
  readonly flushKind?: number | undefined
}

/** Takes what a transcoder makes. */
export interface TranscoderSink {
  /**
   * One piece of input is done: `taken` bytes went in, `bytes` came out. `error`: the library gave up. `left`: what of the
   * piece stands behind the end of the compressed data.
   */
  onOutput(bytes: Buffer, taken: number, error: NodeJS.ErrnoException | undefined, left: Buffer | undefined): void
  /** Everything is done, and `bytes` is what the library wrote to finish. */
  onFinished(bytes: Buffer): void
}

/**
 * Runs a body through a stream of node:zlib, which works on threads of its own: pieces go in one after the other, and
 * what each gives comes out whole, in order, later. Nothing comes after `close`.
 */
export class Transcoder {
  /** Bytes that have not been worked on yet. */
  waiting = 0
  private readonly stream: ZlibStream
  private readonly sink: TranscoderSink
  private readonly queue: Buffer[] = []
  private output: Buffer[] = []
  private outputLength = 0
  /** Most bytes of output for the piece at work; beyond it the stream is given up. */
  private outputLimit = 0
  private working: Buffer | undefined
  private finishing = false
  /** The stream takes no more: it has come to its end, or failed. */
  private over = false
  private failure: NodeJS.ErrnoException | undefined
  /** Bytes given to the stream so far, and how many of them it left when it came to its end. */
  private given = 0
  private unread = Number.POSITIVE_INFINITY
  private closed = false
  private readonly ratio: number
  private readonly slack: number
  private readonly writesEnd: boolean
  private readonly flushKind: number | undefined

  constructor(stream: ZlibStream, sink: TranscoderSink, options: TranscoderOptions) {
    this.stream = stream
    this.sink = sink
    this.writesEnd = options.writesEnd
    this.ratio = options.ratio ?? 0
    this.slack = options.slack ?? 0
    this.flushKind = options.flushKind
    stream.on('data', (bytes: Buffer) => this.onData(bytes))
    stream.on('end', () => this.onEnd())
    stream.on('error', (error) => this.onError(error))
  }

  /** Whether everything given has come out. */
  get idle(): boolean {
    return this.working === undefined && this.queue.length === 0
  }

  /** Takes a piece; copies it. `last`: there are no more. */
  write(chunk: Uint8Array, last = false): void {
    this.queue.push(Buffer.from(chunk))
    this.waiting += chunk.length
    if (last) this.finishing = true
    this.next()
  }

  /** No more pieces. */
  finish(): void {
    this.finishing = true
    this.next()
  }

  /** Gives back what the library holds. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.queue.length = 0
    this.output = []
    this.stream.destroy()
  }

  private next(): void {
    if (this.closed || this.working !== undefined) return
    const piece = this.queue.shift()
    if (piece === undefined) {
      if (!this.finishing) return
      if (this.writesEnd && !this.over) this.stream.end()
      else this.conclude()
      return
    }
    this.working = piece
    if (this.over || piece.length === 0) {
      this.pieceDone(piece)
      return
    }
    this.outputLimit = this.ratio * piece.length + this.slack
    this.given += piece.length
    const done = (error?: Error | null): void => {
      if (error) this.onError(error)
      else this.pieceDone(piece)
    }
    if (this.flushKind === undefined) this.stream.write(piece, done)
    else if (this.finishing && this.queue.length === 0) this.stream.end(piece)
    else {
      this.stream.write(piece)
      this.stream.flush(this.flushKind, done)
    }
  }

  private pieceDone(piece: Buffer): void {
    if (this.closed || this.working !== piece) return
    this.working = undefined
    this.waiting -= piece.length
    const { failure, over } = this
    const left = over && failure === undefined ? piece.subarray(Math.max(0, piece.length - this.unread)) : undefined
    this.unread = Number.POSITIVE_INFINITY // of all that may still come
    this.sink.onOutput(this.take(), piece.length, failure, left)
    this.next()
  }

  private conclude(): void {
    const bytes = this.take()
    this.waiting = 0
    this.close()
    this.sink.onFinished(bytes)
  }

  private take(): Buffer {
    const { output } = this
    this.output = []
    this.outputLength = 0
    return output.length === 1 ? output[0]! : Buffer.concat(output)
  }

  private onData(bytes: Buffer): void {
    if (this.closed || this.over) return
    this.output.push(bytes)
    this.outputLength += bytes.length
    if (this.ratio === 0 || this.outputLength <= this.outputLimit) return
    this.onError(new Error('more output than allowed'))
  }

  private onEnd(): void {
    if (this.closed || this.over) return
    this.over = true
    this.unread = this.given - this.stream.bytesWritten
    if (this.flushKind !== undefined && this.finishing && this.queue.length === 0) this.conclude()
    else if (this.working !== undefined) this.pieceDone(this.working)
    else if (this.finishing) this.conclude()
  }

  private onError(error: NodeJS.ErrnoException): void {
    if (this.closed || this.over) return
    this.over = true
    this.failure = error
    this.stream.destroy()
    if (this.working !== undefined) this.pieceDone(this.working)
    else if (this.finishing) this.conclude()
  }
}
