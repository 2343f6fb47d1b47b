/** Says what is wrong with a value, in protoc-gen-validate's words, or nothing. */
export type Rule = (value: unknown) => string | undefined

/** Whether a field of proto2 rules was given. */
export function given<T extends object>(rules: T, name: keyof T): boolean {
  return Object.hasOwn(rules, name)
}

/** The first complaint of several rules; undefined when there are none. */
export function all(rules: readonly (Rule | undefined | false)[]): Rule | undefined {
  const kept = rules.filter((rule): rule is Rule => typeof rule === 'function')
  if (kept.length < 2) return kept[0]
  return (value) => {
    for (const rule of kept) {
      const broken = rule(value)
      if (broken) return broken
    }
    return undefined
  }
}

/** Bounds on a length, in the three forms that protoc-gen-validate words them. */
export function sizeRule(
  words: string,
  unit: string,
  min: bigint | undefined,
  max: bigint | undefined,
  size: (value: unknown) => bigint,
): Rule | undefined {
  if (min !== undefined && max !== undefined) {
    if (min === max) return (v) => (size(v) === min ? undefined : `${words} ${exactly(words)}${min} ${unit}`)
    return (v) =>
      size(v) >= min && size(v) <= max ? undefined : `${words} between ${min} and ${max} ${unit}, inclusive`
  }
  if (min !== undefined) return (v) => (size(v) >= min ? undefined : `${words} at least ${min} ${unit}`)
  if (max !== undefined) return (v) => (size(v) <= max ? undefined : `${words} at most ${max} ${unit}`)
  return undefined
}

const exactly = (words: string) => (words.endsWith('contain') ? 'exactly ' : '')
