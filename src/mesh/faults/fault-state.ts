import { type FaultAction, type FaultRule, needsRequest, type PathMatch } from '../../api/server-fault.ts'
import type { Runtime, Timer } from '../../runtime.ts'

/** What a rule looks at in a request. */
export interface FaultRequest {
  readonly method: string
  /** With its query, which rules do not look at. */
  readonly path: string
  /** The value of a header by its lower-case name. */
  header(name: string): string | undefined
}

/** How a request or connection ends, where a fault ends it. */
export type Ending = Extract<FaultAction, { kind: 'abort' | 'grpc' | 'reset' | 'hang' }>

/** What is done to one request or connection. */
export interface Injection {
  /** ms to wait first. */
  readonly delay: number
  readonly ending: Ending | undefined
  readonly bytesPerSecond: number | undefined
}

/** How often a rule has matched and struck, for people. */
export interface FaultRuleView {
  readonly rule: string
  readonly matched: number
  readonly struck: number
  /** It strikes no more: its count or its time is used up. */
  readonly over: boolean
}

const NOTHING: Injection = { delay: 0, ending: undefined, bytesPerSecond: undefined }
/** The standard normal's 99th percentile. */
const Z99 = 2.3263478740408408

class LiveRule {
  readonly rule: FaultRule
  /** No longer than this, on the runtime's clock. */
  readonly until: number
  matched = 0
  struck = 0

  constructor(rule: FaultRule, now: number) {
    this.rule = rule
    this.until = rule.duration === undefined ? Number.POSITIVE_INFINITY : now + rule.duration
  }

  isOver(now: number): boolean {
    return now >= this.until || (this.rule.first !== undefined && this.struck >= this.rule.first)
  }

  /** Whether it strikes this time; chance is asked only where it decides. */
  strikes(runtime: Runtime): boolean {
    if (this.isOver(runtime.now())) return false
    this.matched++
    const { percent } = this.rule
    if (percent < 100 && runtime.random() * 100 >= percent) return false
    this.struck++
    return true
  }
}

/** The faults of one instance: its rules, what is left of them, and whether it is down just now. */
export class FaultState {
  readonly rules: readonly FaultRule[]
  readonly #runtime: Runtime
  readonly #live: readonly LiveRule[]
  readonly #timers = new Set<Timer>()
  readonly #downPorts = new Map<LiveRule, boolean>()
  readonly #changed: () => void

  /** `changed`: a flap has gone down or come up, or a rule's time is over. */
  constructor(rules: readonly FaultRule[], runtime: Runtime, changed: () => void) {
    this.rules = rules
    this.#runtime = runtime
    this.#changed = changed
    this.#live = rules.map((rule) => new LiveRule(rule, runtime.now()))
    for (const live of this.#live) {
      if (live.rule.action.kind === 'flap') this.#flap(live, live.rule.action)
      if (live.rule.duration !== undefined)
        this.#after(live.rule.duration, () => {
          this.#downPorts.delete(live)
          this.#changed()
        })
    }
  }

  /** Whether connections to the port are refused because of a flap. */
  isDown(port: number): boolean {
    for (const [{ rule }, down] of this.#downPorts) if (down && onPort(rule, port)) return true
    return false
  }

  /** Whether a connection that is about to be opened finds nobody. */
  refuses(port: number): boolean {
    if (this.isDown(port)) return true
    return this.#live.some(
      (live) => live.rule.action.kind === 'refuse' && onPort(live.rule, port) && live.strikes(this.#runtime),
    )
  }

  /** Whether each request needs a connection of its own, since connections are refused by chance or by number. */
  get perRequest(): boolean {
    return this.#live.some(
      ({ rule }) => rule.action.kind === 'refuse' && (rule.percent < 100 || rule.first !== undefined),
    )
  }

  /** What is done to a request that has come to the port. */
  ofRequest(port: number, request: FaultRequest): Injection {
    return this.#decide((rule) => onPort(rule, port) && matches(rule, request))
  }

  /** What is done to a connection to the port that carries no HTTP. */
  ofConnection(port: number): Injection {
    return this.#decide((rule) => onPort(rule, port) && !needsRequest(rule))
  }

  views(): FaultRuleView[] {
    const now = this.#runtime.now()
    return this.#live.map((live) => ({
      rule: live.rule.text,
      matched: live.matched,
      struck: live.struck,
      over: live.isOver(now),
    }))
  }

  close(): void {
    for (const timer of this.#timers) timer.cancel()
    this.#timers.clear()
    this.#downPorts.clear()
  }

  /** Delays add up, the slowest pace counts, the first ending in the order of the rules is the one. */
  #decide(applies: (rule: FaultRule) => boolean): Injection {
    let delay = 0
    let ending: Ending | undefined
    let bytesPerSecond: number | undefined
    for (const live of this.#live) {
      const { action } = live.rule
      if (action.kind === 'refuse' || action.kind === 'flap' || !applies(live.rule)) continue
      const ends =
        action.kind === 'abort' || action.kind === 'grpc' || action.kind === 'reset' || action.kind === 'hang'
      if ((ends && ending !== undefined) || !live.strikes(this.#runtime)) continue
      if (action.kind === 'delay' || action.kind === 'delay-distribution') delay += delayOf(action, this.#runtime)
      else if (action.kind === 'slow')
        bytesPerSecond = Math.min(bytesPerSecond ?? action.bytesPerSecond, action.bytesPerSecond)
      else ending = action
    }
    return delay === 0 && ending === undefined && bytesPerSecond === undefined
      ? NOTHING
      : { delay, ending, bytesPerSecond }
  }

  /** Up first, then down, and so on; in step with the clock however late a timer comes. */
  #flap(live: LiveRule, { up, down }: { up: number; down: number }): void {
    let at = this.#runtime.now()
    const turn = (isDown: boolean): void => {
      at += isDown ? down : up
      this.#after(at - this.#runtime.now(), () => {
        if (live.isOver(this.#runtime.now())) return
        this.#downPorts.set(live, !isDown)
        if (!isDown) {
          live.matched++
          live.struck++
        }
        this.#changed()
        turn(!isDown)
      })
    }
    this.#downPorts.set(live, false)
    turn(false)
  }

  #after(ms: number, fn: () => void): void {
    const timer = this.#runtime.after(Math.max(0, ms), () => {
      this.#timers.delete(timer)
      fn()
    })
    this.#timers.add(timer)
  }
}

function onPort(rule: FaultRule, port: number): boolean {
  return rule.ports.length === 0 || rule.ports.includes(port)
}

function matches(rule: FaultRule, request: FaultRequest): boolean {
  if (rule.methods.length > 0 && !rule.methods.includes(request.method)) return false
  if (rule.paths.length > 0) {
    const query = request.path.indexOf('?')
    const path = query < 0 ? request.path : request.path.slice(0, query)
    if (!rule.paths.some((match) => pathMatches(match, path))) return false
  }
  return rule.headers.every(({ name, value }) => {
    const is = request.header(name)
    return is !== undefined && (value === undefined || is === value)
  })
}

function pathMatches(match: PathMatch, path: string): boolean {
  if (match.kind === 'regex') return match.regex.matches(path)
  return match.kind === 'prefix' ? path.startsWith(match.text) : path === match.text
}

function delayOf(action: Extract<FaultAction, { kind: 'delay' | 'delay-distribution' }>, runtime: Runtime): number {
  if (action.kind === 'delay') {
    if (action.jitter === 0) return action.ms
    return Math.max(0, action.ms + (runtime.random() * 2 - 1) * action.jitter)
  }
  // Box-Muller; 1 - random() is never 0.
  const normal = Math.sqrt(-2 * Math.log(1 - runtime.random())) * Math.cos(2 * Math.PI * runtime.random())
  return action.p50 * Math.exp((Math.log(action.p99 / action.p50) / Z99) * normal)
}
