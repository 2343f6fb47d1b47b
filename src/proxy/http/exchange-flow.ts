import type { ServerStream } from './codec.ts'
import type { HcmStats } from './hcm-stats.ts'

/** Who supplies the response body: the router's attempt. */
export interface ResponseSource {
  pauseResponse(): void
  resumeResponse(): void
}

/** Backpressure of one exchange, both ways. Several may ask for a pause; the last to let go ends it. */
export class ExchangeFlow {
  source: ResponseSource | undefined = undefined
  private readonly stats: HcmStats
  private stream: ServerStream | undefined = undefined
  private requestPauses = 0
  private responsePauses = 0
  /** The client's connection has more to send than it likes. */
  private isFull = false

  constructor(stats: HcmStats) {
    this.stats = stats
  }

  begin(stream: ServerStream): void {
    this.stream = stream
    this.source = undefined
    this.requestPauses = 0
    this.responsePauses = 0
    this.isFull = false
  }

  end(): void {
    this.stream = undefined
    this.source = undefined
  }

  /**
   * Stops the request body's delivery; each call needs a `resumeRequest`. `quiet`, there too: not because a buffer is
   * full, so that it does not count.
   */
  pauseRequest(quiet = false): void {
    if (this.requestPauses++ > 0 || this.stream === undefined) return
    if (!quiet) this.stats.flowPaused.inc()
    this.stream.pauseReading()
  }

  resumeRequest(quiet = false): void {
    if (this.requestPauses === 0 || --this.requestPauses > 0 || this.stream === undefined) return
    if (!quiet) this.stats.flowResumed.inc()
    this.stream.resumeReading()
  }

  /** Stops the response body at its source; each call needs a `resumeResponse`. */
  pauseResponse(): void {
    if (this.responsePauses++ === 0) this.source?.pauseResponse()
  }

  resumeResponse(): void {
    if (this.responsePauses > 0 && --this.responsePauses === 0) this.source?.resumeResponse()
  }

  /** The client's connection takes no more for now. */
  full(): void {
    if (this.isFull) return
    this.isFull = true
    this.pauseResponse()
  }

  /** It takes more again. */
  writable(): void {
    if (!this.isFull) return
    this.isFull = false
    this.resumeResponse()
  }
}
