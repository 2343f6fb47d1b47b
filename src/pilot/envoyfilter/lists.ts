import { copyOf } from './merge.ts'
import type { ApplyTo, Patch, ValueOf } from './patch.ts'
import type { Part } from './sought.ts'

/** The members of a list that a patch names. */
export interface Selection<T> {
  /** What the list is of. */
  readonly part: Part
  /** The patch names one at all. */
  named: boolean
  matches(item: T): boolean
}

/** Operations that need a member that is there already. */
const SEEKING = new Set<string>(['INSERT_BEFORE', 'INSERT_AFTER', 'REPLACE', 'REMOVE'])

const nameOf = (item: object): string => ('name' in item && typeof item.name === 'string' && item.name) || '(unnamed)'

/**
 * A list after a structural patch: ADD, INSERT_*, REPLACE or REMOVE; other operations leave it as it is. An insertion that
 * names nothing goes to the end it is nearest to; one whose neighbour is not there does nothing.
 */
export function edited<A extends ApplyTo>(
  list: readonly ValueOf<A>[],
  patch: Patch<A>,
  { part, named, matches }: Selection<ValueOf<A>>,
): ValueOf<A>[] {
  const { operation } = patch
  const at = named ? list.findIndex(matches) : -1
  if (named && at < 0 && SEEKING.has(operation)) patch.sought.missed(part, list.map(nameOf))
  const value = (): ValueOf<A> => {
    patch.hits++
    return copyOf(patch.value as { $typeName: string }) as ValueOf<A>
  }
  switch (operation) {
    case 'ADD':
      return [...list, value()]
    case 'INSERT_FIRST':
      return [value(), ...list]
    case 'INSERT_BEFORE':
      if (!named) return [value(), ...list]
      return at < 0 ? [...list] : list.toSpliced(at, 0, value())
    case 'INSERT_AFTER':
      if (!named) return [...list, value()]
      return at < 0 ? [...list] : list.toSpliced(at + 1, 0, value())
    case 'REPLACE':
      return at < 0 ? [...list] : list.toSpliced(at, 1, value())
    case 'REMOVE':
      if (at < 0) return [...list]
      patch.hits++
      return list.filter((item) => !matches(item))
    default:
      return [...list]
  }
}
