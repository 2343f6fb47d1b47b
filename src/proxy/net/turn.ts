/**
 * A turn is one call from the event loop into the proxy: bytes were read, a timer fired. What is written
 * in a turn leaves at its end, so that a message's head and body, or the answers to a pipeline, go out in
 * one write per connection. Outside of a turn the end is the next tick.
 */

/** A connection with bytes to send. */
export interface Flushable {
  flush(): void
}

/** Work put off until whoever is running now has finished, such as the next request of a pipeline. */
export interface TurnTask {
  runAtTurnEnd(): void
}

let depth = 0
let scheduled = false
let tasks: TurnTask[] = []
let spareTasks: TurnTask[] = []
let dirty: Flushable[] = []
let spareDirty: Flushable[] = []

/** Opens a turn; `leaveTurn` must follow whatever happens. Turns nest. */
export function enterTurn(): void {
  depth++
}

/** Ends a turn: the outermost one runs what was put off, then flushes. */
export function leaveTurn(): void {
  if (depth === 1) settle()
  depth--
}

/** Runs `task` when the turn ends, before anything is flushed. */
export function atTurnEnd(task: TurnTask): void {
  tasks.push(task)
  if (depth === 0) schedule()
}

/** Flushes `f` when the turn ends. Ask once per turn and connection. */
export function flushAtTurnEnd(f: Flushable): void {
  dirty.push(f)
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
  while (tasks.length > 0 || dirty.length > 0) {
    while (tasks.length > 0) {
      const now = tasks
      tasks = spareTasks
      for (let i = 0; i < now.length; i++) now[i]!.runAtTurnEnd()
      now.length = 0
      spareTasks = now
    }
    const now = dirty
    dirty = spareDirty
    for (let i = 0; i < now.length; i++) now[i]!.flush()
    now.length = 0
    spareDirty = now
  }
}
