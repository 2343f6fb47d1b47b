import type { HttpFilterFactory } from '../filters/filter.ts'
import type { Exchange } from './exchange.ts'
import { FilterSlot } from './filter-slot.ts'
import type { Route } from './router/route.ts'

/** An entry of `http_filters`, compiled. */
export interface ChainEntry {
  readonly name: string
  /** Off unless a route turns it on. */
  readonly disabled: boolean
  readonly factory: HttpFilterFactory
  /** Its config comes by itself, and may change. */
  readonly discovered?: { whenReady(ready: () => void): void } | undefined
}

/** A compiled filter chain: makes the slots of an exchange. */
export class HttpFilterChain {
  readonly entries: readonly ChainEntry[]
  /** Nothing but a terminal filter: the slots can be used again by the connection's next exchange. */
  readonly reusable: boolean

  constructor(entries: readonly ChainEntry[]) {
    this.entries = entries
    this.reusable = entries.length === 1 && !entries[0]!.disabled && entries[0]!.discovered === undefined
  }

  /** Slots in request order; filters that the route turns off are left out. */
  instantiate(exchange: Exchange, route: Route | undefined): FilterSlot[] {
    const slots: FilterSlot[] = []
    const { entries } = this
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!
      const own = route?.filters.empty === false ? route.filters.get(entry.name) : undefined
      if (own === undefined ? entry.disabled : own.disabled) continue
      slots.push(new FilterSlot(exchange, entry.name, entry.factory.create()))
    }
    for (let i = 0; i < slots.length; i++) {
      slots[i]!.decodeIndex = i
      slots[i]!.encodeIndex = slots.length - 1 - i
    }
    return slots
  }
}
