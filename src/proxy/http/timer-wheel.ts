import type { Runtime, Timer } from '../../runtime.ts'

/** Whose timer it is. `kind` is what the owner passed to `start`, so that one owner can have several without closures. */
export interface TimerOwner {
  onTimer(kind: number): void
}

/** A timer embedded in its owner: starting and stopping it allocates nothing. */
export class WheelTimer {
  readonly owner: TimerOwner
  readonly kind: number
  /** When it is due, `Runtime.now()` ms; 0 when it is not running. */
  due = 0
  spoke: Spoke | undefined
  prev: WheelTimer | undefined
  next: WheelTimer | undefined

  constructor(owner: TimerOwner, kind: number) {
    this.owner = owner
    this.kind = kind
  }

  get running(): boolean {
    return this.spoke !== undefined
  }

  stop(): void {
    this.spoke?.remove(this)
  }
}

/**
 * Timeouts by duration: all timers of one duration fall due in the order they were started, so each duration is
 * a linked list with one runtime timer for its first entry. Timeouts come from config, so there are few
 * durations; starting and stopping are a few pointer writes, where a timer per request would cost an
 * allocation and a heap operation.
 */
export class TimerWheel {
  private readonly runtime: Runtime
  private readonly spokes = new Map<number, Spoke>()

  constructor(runtime: Runtime) {
    this.runtime = runtime
  }

  /** Starts (or restarts) `timer` to fire in `ms`. */
  start(timer: WheelTimer, ms: number): void {
    timer.stop()
    const duration = Math.max(1, Math.ceil(ms))
    let spoke = this.spokes.get(duration)
    if (spoke === undefined) {
      spoke = new Spoke(this.runtime, duration, this.spokes)
      this.spokes.set(duration, spoke)
    }
    spoke.append(timer)
  }
}

class Spoke {
  private readonly runtime: Runtime
  private readonly duration: number
  private readonly spokes: Map<number, Spoke>
  private first: WheelTimer | undefined
  private last: WheelTimer | undefined
  private armed: Timer | undefined
  private readonly fire = () => this.onArmed()

  constructor(runtime: Runtime, duration: number, spokes: Map<number, Spoke>) {
    this.runtime = runtime
    this.duration = duration
    this.spokes = spokes
  }

  append(timer: WheelTimer): void {
    timer.due = this.runtime.now() + this.duration
    timer.spoke = this
    timer.prev = this.last
    if (this.last === undefined) this.first = timer
    else this.last.next = timer
    this.last = timer
    this.armed ??= this.runtime.after(this.duration, this.fire)
  }

  remove(timer: WheelTimer): void {
    if (timer.prev === undefined) this.first = timer.next
    else timer.prev.next = timer.next
    if (timer.next === undefined) this.last = timer.prev
    else timer.next.prev = timer.prev
    timer.prev = undefined
    timer.next = undefined
    timer.spoke = undefined
    timer.due = 0
  }

  private onArmed(): void {
    this.armed = undefined
    const now = this.runtime.now()
    // A runtime timer may come a fraction of a millisecond early.
    while (this.first !== undefined && this.first.due <= now + 0.5) {
      const timer = this.first
      this.remove(timer)
      timer.owner.onTimer(timer.kind)
    }
    if (this.first !== undefined) this.armed ??= this.runtime.after(Math.max(1, this.first.due - now), this.fire)
    else if (this.armed === undefined) this.spokes.delete(this.duration)
  }
}

const wheels = new WeakMap<Runtime, TimerWheel>()

/** The wheel that everything on one runtime shares. */
export function timerWheel(runtime: Runtime): TimerWheel {
  let wheel = wheels.get(runtime)
  if (wheel === undefined) {
    wheel = new TimerWheel(runtime)
    wheels.set(runtime, wheel)
  }
  return wheel
}
