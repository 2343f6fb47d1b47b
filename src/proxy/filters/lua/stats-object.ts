import type { Counter, Gauge, Histogram, StatsStore } from '../../observe/stats.ts'
import { type LuaApi, type LuaState, luaClass } from './engine.ts'

/** Where a script's own numbers are counted. */
export interface LuaStats {
  readonly store: StatsStore
  /** `http.<p>.lua.` */
  readonly prefix: string
}

const push = (value: number, api: LuaApi, L: LuaState): number => {
  api.lua.lua_pushnumber(L, value)
  return 1
}

/** A metric that there is from its first use on. */
class Named<T> {
  private made: T | undefined
  private readonly make: () => T
  constructor(make: () => T) {
    this.make = make
  }
  get used(): T | undefined {
    return this.made
  }
  get(): T {
    this.made ??= this.make()
    return this.made
  }
}

const COUNTER = luaClass<Named<Counter>>('CounterWrapper', {
  inc(counter) {
    counter.get().inc()
    return 0
  },
  add(counter, api, L) {
    counter.get().add(Math.max(0, api.integerArg(L, 2)))
    return 0
  },
  value: (counter, api, L) => push(counter.used?.value ?? 0, api, L),
})

const change = (gauge: Named<Gauge>, by: number): number => {
  const made = gauge.get()
  made.set(made.value + by)
  return 0
}

const GAUGE = luaClass<Named<Gauge>>('GaugeWrapper', {
  inc: (gauge) => change(gauge, 1),
  dec: (gauge) => change(gauge, -1),
  add: (gauge, api, L) => change(gauge, api.integerArg(L, 2)),
  sub: (gauge, api, L) => change(gauge, -api.integerArg(L, 2)),
  set(gauge, api, L) {
    gauge.get().set(api.integerArg(L, 2))
    return 0
  },
  value: (gauge, api, L) => push(gauge.used?.value ?? 0, api, L),
})

const HISTOGRAM = luaClass<Named<Histogram>>('HistogramWrapper', {
  recordValue(histogram, api, L) {
    histogram.get().record(Math.max(0, api.integerArg(L, 2)))
    return 0
  },
})

const UNITS = new Set(['ms', 'milliseconds', 'microseconds', 'nanoseconds', 'bytes', 'unspecified'])
const UNIT_NAMES = "'ms', 'milliseconds', 'microseconds', 'nanoseconds', 'bytes', or 'unspecified'"

/** Counters, gauges and histograms of a script's own, by name. */
export const STATS = luaClass<LuaStats>('StatsWrapper', {
  counter(self, api, L) {
    const name = self.prefix + api.stringArg(L, 2)
    api.object(L, COUNTER, new Named(() => self.store.counter(name)))
    return 1
  },
  gauge(self, api, L) {
    const name = self.prefix + api.stringArg(L, 2)
    api.object(L, GAUGE, new Named(() => self.store.gauge(name)))
    return 1
  },
  histogram(self, api, L) {
    const name = self.prefix + api.stringArg(L, 2)
    if (!api.lua.lua_isnoneornil(L, 3)) {
      const unit = api.stringArg(L, 3)
      if (!UNITS.has(unit)) api.fail(L, `invalid histogram unit '${unit}', expected ${UNIT_NAMES}`)
    }
    api.object(L, HISTOGRAM, new Named(() => self.store.histogram(name)))
    return 1
  },
})
