/** The edit distance of two strings, where a swap of neighbours counts as one. */
function distance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1
      let best = Math.min((last[j] as number) + 1, (row[j - 1] as number) + 1, (last[j - 1] as number) + cost)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforeLast[j - 2] as number) + 1)
      }
      row.push(best)
    }
    beforeLast = last
    last = row
  }
  return last[b.length] as number
}

const plain = (word: string): string => word.toLowerCase().replace(/[_-]/g, '')

/** The one of `known` that was surely meant by `word` (case, `_` and small typos aside), if there is one. */
export function closest(word: string, known: readonly string[]): string | undefined {
  const same = known.find((name) => plain(name) === plain(word))
  if (same !== undefined) return same
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const name of known) {
    const d = distance(plain(word), plain(name))
    if (d < bestDistance && d < name.length) {
      best = name
      bestDistance = d
    }
  }
  return best
}

/** `: did you mean "weight"?`, or nothing. */
export function didYouMean(word: string, known: readonly string[]): string {
  const name = closest(word, known)
  return name === undefined ? '' : `: did you mean "${name}"?`
}
