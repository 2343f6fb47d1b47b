/** A step into a document: a field name as written, a list index, or a map key. */
export type PathStep = string | number

/** Something wrong at one place of a config. */
export interface Problem {
  readonly path: readonly PathStep[]
  readonly message: string
}

/** Prints a path as `static_resources.listeners[0].filter_chains[0]`; map keys that are no plain names in brackets. */
export function pathText(path: readonly PathStep[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[A-Za-z_@][\w-]*$/.test(step)) text += text ? `.${step}` : step
    else text += `[${JSON.stringify(step)}]`
  }
  return text
}

/** Prints a problem as `path: message`. */
export function problemText(problem: Problem): string {
  return problem.path.length ? `${pathText(problem.path)}: ${problem.message}` : problem.message
}

/** The nearest of some names, for "did you mean"; undefined when none is near. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate, bestDistance)
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++)
      row.push(a[i - 1] === b[j - 1] ? previous[j - 1]! : 1 + Math.min(previous[j]!, row[j - 1]!, previous[j - 1]!))
    previous = row
  }
  return previous[b.length]!
}
