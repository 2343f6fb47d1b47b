import type { Runtime } from '../../runtime.ts'
import { type TimerOwner, type TimerWheel, timerWheel, WheelTimer } from '../http/timer-wheel.ts'
import type { KeepaliveSettings } from './settings.ts'

const SEND = 1
const TIMEOUT = 2

/** connection_keepalive: PINGs at intervals, and the end of a connection that does not answer (codec_impl.cc sendKeepalive). */
export class Keepalive implements TimerOwner {
  private readonly settings: KeepaliveSettings
  private readonly runtime: Runtime
  private readonly wheel: TimerWheel
  private readonly ping: () => boolean
  private readonly failed: () => void
  private readonly send = new WheelTimer(this, SEND)
  private readonly timeout = new WheelTimer(this, TIMEOUT)
  private heard: number
  /** PINGs without an answer. */
  private open = 0

  /** `ping` sends a PING, if it can; `failed` is called when nothing came in time. */
  constructor(settings: KeepaliveSettings, runtime: Runtime, ping: () => boolean, failed: () => void) {
    this.settings = settings
    this.runtime = runtime
    this.wheel = timerWheel(runtime)
    this.ping = ping
    this.failed = failed
    this.heard = runtime.now()
    this.arm()
  }

  /** A PING is not answered yet. */
  get awaitsPong(): boolean {
    return this.open > 0
  }

  private arm(): void {
    const { interval, jitter } = this.settings
    if (interval <= 0) return
    // Rounded, so that few durations are in use.
    const extra = Math.floor((this.runtime.random() * jitter * interval) / 100)
    this.wheel.start(this.send, interval + extra)
  }

  /** Something came: a slow answer is no dead peer. */
  onFrame(pong: boolean): void {
    this.heard = this.runtime.now()
    if (pong) {
      if (this.open > 0) this.open--
      this.timeout.stop()
      this.arm()
    } else if (this.timeout.running) this.wheel.start(this.timeout, this.settings.timeout)
  }

  /** Before a new stream: a connection that was silent for long is tried. */
  beforeStream(): void {
    const { idleInterval } = this.settings
    if (idleInterval > 0 && this.runtime.now() - this.heard > idleInterval) this.sendPing()
  }

  private sendPing(): void {
    if (this.timeout.running) return
    if (this.ping()) this.open++
    this.wheel.start(this.timeout, this.settings.timeout)
  }

  onTimer(kind: number): void {
    if (kind === SEND) this.sendPing()
    else this.failed()
  }

  stop(): void {
    this.send.stop()
    this.timeout.stop()
  }
}
