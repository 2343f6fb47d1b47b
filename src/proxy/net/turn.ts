/**
 * A turn is one call from the event loop into the proxy: bytes were read, a timer fired. What is written
 * in a turn leaves at its end, so that a message's head and body, or the answers to a pipeline, go out in
 * one write per connection. Outside of a turn the end is the next tick.
 */

import { holdClock, releaseClock } from '../../runtime-system.ts'

/** A connection with bytes to send. */
export interface Flushable {
  flush(): void
}

/** Work put off until whoever is running now has finished, such as the next request of a pipeline. */
export interface TurnTask {
  runAtTurnEnd(): void
}

/** Things to do, in the order they were put in. Its slots are used again: resetting an array's length costs a runtime call. */
class Agenda<T> {
  private readonly slots: (T | undefined)[] = []
  private filled = 0
  private taken = 0

  get isEmpty(): boolean {
    return this.taken === this.filled
  }

  put(item: T): void {
    this.slots[this.filled++] = item
  }

  /** The next one. Only when there is one. */
  take(): T {
    const item = this.slots[this.taken]!
    this.slots[this.taken++] = undefined
    if (this.taken === this.filled) this.taken = this.filled = 0
    return item
  }
}

let depth = 0
let scheduled = false
const tasks = new Agenda<TurnTask>()
const dirty = new Agenda<Flushable>()

/** Opens a turn, in which the clock stands still; `leaveTurn` must follow whatever happens. Turns nest. */
export function enterTurn(): void {
  if (depth++ === 0) holdClock()
}

/** Ends a turn: the outermost one runs what was put off, then flushes. */
export function leaveTurn(): void {
  if (depth > 1) {
    depth--
    return
  }
  try {
    settle()
  } finally {
    depth = 0
    releaseClock()
  }
}

/** Runs `task` when the turn ends, before anything is flushed. */
export function atTurnEnd(task: TurnTask): void {
  tasks.put(task)
  if (depth === 0) schedule()
}

/** Flushes `f` when the turn ends. Ask once per turn and connection. */
export function flushAtTurnEnd(f: Flushable): void {
  dirty.put(f)
  if (depth === 0) schedule()
}

function schedule(): void {
  if (scheduled) return
  scheduled = true
  process.nextTick(settleOutside)
}

function settleOutside(): void {
  scheduled = false
  depth++
  try {
    settle()
  } finally {
    depth--
  }
}

function settle(): void {
  for (;;) {
    if (!tasks.isEmpty) tasks.take().runAtTurnEnd()
    else if (!dirty.isEmpty) dirty.take().flush()
    else return
  }
}
