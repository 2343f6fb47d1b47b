import type { Condition } from '../../api/kinds/gateway-api/status.ts'
import type { ApiObject } from '../../api/objects.ts'
import { keyOf } from '../../store/snapshot.ts'
import type { ObjectStatus, StatusObject } from './convert.ts'

type Fields = Readonly<Record<string, unknown>>

/** The statuses of objects over time: a condition has the time at which it last changed between true and false. */
export class StatusBook {
  readonly #now: () => number
  #seen: ReadonlyMap<StatusObject, ObjectStatus> = new Map()
  #timed = new Map<string, ObjectStatus>()

  /** `now` gives milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Takes the statuses of the latest conversion. */
  update(statuses: ReadonlyMap<StatusObject, ObjectStatus>): void {
    if (statuses === this.#seen) return
    this.#seen = statuses
    const now = new Date(Math.floor(this.#now() / 1000) * 1000).toISOString().replace('.000Z', 'Z')
    const timed = new Map<string, ObjectStatus>()
    for (const [object, status] of statuses) {
      const key = statusKey(object)
      timed.set(key, withTimes(status as Fields, this.#timed.get(key) as Fields | undefined, now) as ObjectStatus)
    }
    this.#timed = timed
  }

  /** The status of an object; undefined for one that has none. */
  of(object: ApiObject): ObjectStatus | undefined {
    return this.#timed.get(statusKey(object))
  }
}

function statusKey({ kind, metadata }: ApiObject): string {
  return keyOf(kind, metadata.namespace, metadata.name)
}

/** Lists in which each entry has conditions of its own, and what tells entries apart. */
const LISTS: Readonly<Record<string, readonly string[]>> = {
  listeners: ['name'],
  parents: ['parentRef', 'controllerName'],
  ancestors: ['ancestorRef', 'controllerName'],
}

function withTimes(status: Fields, before: Fields | undefined, now: string): Fields {
  const out: Record<string, unknown> = { ...status }
  if (Array.isArray(status.conditions)) {
    const known = (before?.conditions ?? []) as Condition[]
    out.conditions = (status.conditions as Condition[]).map((condition) => ({
      ...condition,
      lastTransitionTime: condition.lastTransitionTime ?? timeOf(condition, known) ?? now,
    }))
  }
  for (const [field, names] of Object.entries(LISTS)) {
    const entries = status[field] as Fields[] | undefined
    if (!entries) continue
    const identity = (entry: Fields): string => JSON.stringify(names.map((name) => entry[name]))
    const known = new Map(((before?.[field] ?? []) as Fields[]).map((entry) => [identity(entry), entry]))
    out[field] = entries.map((entry) => withTimes(entry, known.get(identity(entry)), now))
  }
  return out
}

function timeOf({ type, status }: Condition, known: readonly Condition[]): string | undefined {
  return known.find((other) => other.type === type && other.status === status)?.lastTransitionTime
}
