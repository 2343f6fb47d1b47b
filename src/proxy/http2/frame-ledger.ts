import type { Counter } from '../observe/stats.ts'
import { ErrorCode, Flag, Frame, type FrameObserver, FrameWatch } from './frame-watch.ts'
import type { Http2Settings } from './settings.ts'
import type { Http2Stats } from './stats.ts'

/** Details and flag that a stream ends with. */
export interface StreamVerdict {
  readonly details: string
  readonly fatal: boolean
}

/** What frames have said of one stream. */
export class StreamFrames {
  readonly id: number
  /** END_STREAM has come, or left. */
  remoteEnded = false
  localEnded = false
  /** Code of the RST_STREAM that came, or left; -1: none. */
  resetIn = -1
  resetOut = -1
  /** The last frame that came was a head's, not data. */
  headLast = true
  /** Bytes of the head's frames. */
  headBytes = 0
  /** This side gave it up. */
  abandoned = false
  /** The connection manager has heard of it. */
  surfaced = false
  /** What is to be said of its end; undefined: what the resets say. */
  verdict: StreamVerdict | undefined = undefined
  private counted = true

  constructor(id: number) {
    this.id = id
  }

  /** True once: the stream has just come to its end. */
  endsNow(): boolean {
    if (!this.counted) return false
    if (this.resetIn < 0 && this.resetOut < 0 && !(this.remoteEnded && this.localEnded)) return false
    this.counted = false
    return true
  }
}

/** What a connection does about what its frames say. */
export interface LedgerOwner {
  /** A PING of ours is not answered yet. */
  readonly awaitsPong: boolean
  /** A limit on frames was passed: Envoy's words for it. The connection is to be cut. */
  onFlood(words: string): void
  /** RST_STREAM leaves, by the library's own decision or by ours. False: it does not, the connection is cut instead. */
  onResetSent(stream: number, frames: StreamFrames | undefined, code: number): boolean
  /** The peer has reset a stream; the library does not know yet. */
  onResetReceived(frames: StreamFrames): void
  /** The answer is complete on the wire. */
  onLocalEnd(frames: StreamFrames): void
  /** GOAWAY with an error leaves: the peer broke the protocol. */
  onGoawaySent(code: number): void
  onGoawayReceived(last: number, code: number): void
  /** Any frame came; `pong`: the answer to a PING. */
  onFrameReceived(pong: boolean): void
}

const PREFACE = 24
/** A type that nobody knows, whose frames are ignored. */
const UNKNOWN_TYPE = 0xfe

/**
 * Keeps the accounts of one connection's frames: what became of streams, counters, and Envoy's limits on frames
 * that cost the sender nothing (source/common/http/http2/protocol_constraints.cc).
 */
export class FrameLedger {
  readonly incoming: FrameWatch
  readonly outgoing: FrameWatch
  /** Streams that have frames and are not forgotten. */
  readonly streams = new Map<number, StreamFrames>()
  private readonly settings: Http2Settings
  private readonly stats: Http2Stats
  private readonly owner: LedgerOwner
  private readonly server: boolean
  private highest = 0
  private opened = 0
  private emptyFrames = 0
  private priorityFrames = 0
  private windowUpdates = 0
  private dataSent = 0
  private controlFrames = 0
  /** A limit was passed: what still comes is not looked at. */
  private flooded = false

  constructor(settings: Http2Settings, stats: Http2Stats, server: boolean, owner: LedgerOwner) {
    this.settings = settings
    this.stats = stats
    stats.connections.inc()
    this.owner = owner
    this.server = server
    const incoming: FrameObserver = {
      onFrame: (type, flags, stream, length, code, last) => this.onIn(type, flags, stream, length, code, last),
    }
    const outgoing: FrameObserver = {
      onFrame: (type, flags, stream, _length, code) => this.onOut(type, flags, stream, code),
    }
    this.incoming = new FrameWatch(incoming, server ? PREFACE : 0, (chunk, at, type) => this.retouch(chunk, at, type))
    this.outgoing = new FrameWatch(outgoing, server ? 0 : PREFACE)
  }

  /** Keeps from the library what it would take amiss, and Envoy does not. */
  private retouch(chunk: Uint8Array, at: number, type: number): void {
    const onConnection = chunk[at + 5] === 0 && chunk[at + 6] === 0 && chunk[at + 7] === 0 && chunk[at + 8] === 0
    if (!onConnection) return
    if (type === Frame.PING) {
      // An answer to no question would end the connection.
      if ((chunk[at + 4]! & Flag.ACK) !== 0 && !this.owner.awaitsPong) chunk[at + 3] = UNKNOWN_TYPE
    } else if (this.server) {
      // A client that has said GOAWAY would not be served any more.
      chunk[at + 3] = UNKNOWN_TYPE
    } else {
      // A server's GOAWAY with an error would end the streams that it has taken, too.
      chunk.fill(0, at + 13, at + 17)
    }
  }

  /** What was written has left: answers to PING and SETTINGS do not pile up. */
  settle(): void {
    this.controlFrames = 0
  }

  /** The stream's object is gone. */
  forget(stream: number): void {
    const frames = this.streams.get(stream)
    if (frames === undefined) return
    this.streams.delete(stream)
    this.abandon(frames)
  }

  private abandon(frames: StreamFrames): void {
    if (frames.resetOut < 0) frames.resetOut = ErrorCode.NO_ERROR
    this.count(frames)
  }

  /** The connection is gone. */
  close(): void {
    for (const frames of this.streams.values()) this.abandon(frames)
    this.streams.clear()
  }

  private open(stream: number): StreamFrames {
    const frames = new StreamFrames(stream)
    this.streams.set(stream, frames)
    this.highest = stream
    this.opened++
    this.stats.streamsActive.inc()
    return frames
  }

  private count(frames: StreamFrames): void {
    if (frames.endsNow()) this.stats.streamsActive.dec()
  }

  private onIn(type: number, flags: number, stream: number, length: number, code: number, last: number): void {
    if (this.flooded) return
    const ack = (flags & Flag.ACK) !== 0
    this.owner.onFrameReceived(type === Frame.PING && ack)
    const end = (flags & Flag.END_STREAM) !== 0
    switch (type) {
      case Frame.HEADERS:
      case Frame.DATA: {
        let frames = this.streams.get(stream)
        if (type === Frame.HEADERS) {
          if (frames !== undefined) {
            if (this.server) this.stats.trailers.inc()
          } else if (this.server && (stream & 1) === 1 && stream > this.highest) {
            frames = this.open(stream)
            frames.headBytes = length + 9
          }
        }
        if (frames !== undefined) {
          frames.headLast = type === Frame.HEADERS
          if (!this.server && frames.headLast && frames.headBytes === 0) frames.headBytes = length + 9
          if (end) {
            frames.remoteEnded = true
            this.count(frames)
          }
        }
        this.trackEmpty(length === code && !end, frames)
        return
      }
      case Frame.CONTINUATION:
        this.trackEmpty(length === 0, this.streams.get(stream))
        return
      case Frame.PRIORITY:
        this.trackPriority()
        return
      case Frame.WINDOW_UPDATE:
        this.trackWindowUpdate()
        return
      case Frame.RST_STREAM: {
        const frames = this.streams.get(stream)
        if (frames === undefined) return
        this.stats.rxReset.inc()
        if (frames.resetIn < 0) frames.resetIn = code
        this.count(frames)
        this.owner.onResetReceived(frames)
        return
      }
      case Frame.SETTINGS:
      case Frame.PING:
        if (!ack && ++this.controlFrames > this.settings.maxControlFrames) {
          this.flood(this.stats.controlFlood, 'Too many control frames in the outbound queue.')
        }
        return
      case Frame.GOAWAY:
        this.owner.onGoawayReceived(last, code)
        return
      default:
    }
  }

  private onOut(type: number, flags: number, stream: number, code: number): void {
    switch (type) {
      case Frame.DATA:
        this.dataSent++
        if ((flags & Flag.END_STREAM) !== 0) this.localEnd(this.streams.get(stream))
        return
      case Frame.HEADERS: {
        let frames = this.streams.get(stream)
        if (frames === undefined && !this.server && stream > this.highest) frames = this.open(stream)
        if ((flags & Flag.END_STREAM) !== 0) this.localEnd(frames)
        return
      }
      case Frame.RST_STREAM: {
        const frames = this.streams.get(stream)
        if (frames !== undefined) {
          frames.resetOut = code
          this.count(frames)
        }
        if (this.owner.onResetSent(stream, frames, code)) this.stats.txReset.inc()
        return
      }
      case Frame.GOAWAY:
        if (code !== ErrorCode.NO_ERROR) this.owner.onGoawaySent(code)
        return
      default:
    }
  }

  private localEnd(frames: StreamFrames | undefined): void {
    if (frames === undefined) return
    frames.localEnded = true
    this.count(frames)
    this.owner.onLocalEnd(frames)
  }

  private trackEmpty(empty: boolean, frames: StreamFrames | undefined): void {
    if (!empty) {
      this.emptyFrames = 0
      return
    }
    if (++this.emptyFrames <= this.settings.maxEmptyFrames) return
    if (frames !== undefined) frames.verdict = { details: 'http2.inbound_empty_frames_flood', fatal: true }
    this.flood(this.stats.emptyFramesFlood, 'Too many consecutive frames with an empty payload')
  }

  private trackPriority(): void {
    if (++this.priorityFrames <= this.settings.maxPriorityFrames * (1 + this.opened)) return
    this.flood(this.stats.priorityFlood, 'Too many PRIORITY frames')
  }

  private trackWindowUpdate(): void {
    const allowed = 5 + 2 * (this.opened + this.settings.maxWindowUpdates * this.dataSent)
    if (++this.windowUpdates <= allowed) return
    this.flood(this.stats.windowUpdateFlood, 'Too many WINDOW_UPDATE frames')
  }

  private flood(counter: Counter, words: string): void {
    this.flooded = true
    counter.inc()
    this.owner.onFlood(words)
  }
}
