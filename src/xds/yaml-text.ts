import { type Document, isNode, isPair, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml'
import type { PathStep } from './problem.ts'

/** Line and column in a text, from 1. */
interface Place {
  readonly line: number
  readonly column: number
}

/** One YAML or JSON document, read. */
interface YamlText {
  /** Plain JSON; undefined when there are faults. */
  readonly value: unknown
  /** Why the text is no YAML. */
  readonly faults: readonly (Place & { readonly message: string })[]
  /** Where a path leads: the key of its last step, or the deepest part that exists. */
  placeOf(path: readonly PathStep[]): Place
}

/** Reads a YAML or JSON text, and remembers where everything stood. */
export function readYaml(text: string): YamlText {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const faults = document.errors.map((e) => ({ ...place(e.pos[0]), message: e.message }))
  if (faults.length === 0) {
    const alias = unresolvedAlias(document)
    if (alias) faults.push({ ...place(alias.offset), message: `unknown alias *${alias.source}` })
  }
  const value = faults.length > 0 ? undefined : document.toJS({ maxAliasCount: -1 })
  return { value, faults, placeOf: (path) => place(offsetOf(document, path)) }
}

function offsetOf(document: Document, steps: readonly PathStep[]): number {
  let node: Node | null = document.contents
  let offset = node?.range?.[0] ?? 0
  for (const step of steps) {
    if (node && 'resolve' in node && typeof node.resolve === 'function') node = node.resolve(document) as Node
    if (!node || !('items' in node)) break
    const items = node.items as unknown[]
    const next: unknown =
      typeof step === 'number'
        ? items[step]
        : items.find((item) => isPair(item) && isScalar(item.key) && sameName(String(item.key.value), step))
    if (isPair(next)) {
      offset = (next.key as Node).range?.[0] ?? offset
      node = next.value as Node | null
    } else if (isNode(next)) {
      offset = next.range?.[0] ?? offset
      node = next
    } else break
  }
  return offset
}

/** Paths of validation name fields in snake_case; the file may have them in camelCase. */
function sameName(written: string, step: string): boolean {
  return written === step || written.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`) === step
}

function unresolvedAlias(document: Document): { source: string; offset: number } | undefined {
  let found: { source: string; offset: number } | undefined
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document)) return undefined
      found = { source: alias.source, offset: alias.range?.[0] ?? 0 }
      return visit.BREAK
    },
  })
  return found
}
