import type { Path, Position } from './objects.ts'
import type { Problem, Severity } from './problems.ts'

/** The text of a file, and the places in it. */
export class Source {
  readonly file: string
  readonly text: string
  #lineStarts: number[] | undefined

  constructor(file: string, text: string) {
    this.file = file
    this.text = text
  }

  /** The line and column of an offset. */
  position(offset: number): Position {
    const starts = this.#starts()
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((starts[middle] as number) <= offset) low = middle
      else high = middle - 1
    }
    return { file: this.file, line: low + 1, col: offset - (starts[low] as number) + 1 }
  }

  /** The text of a line, without its end. */
  line(line: number): string {
    const starts = this.#starts()
    const from = starts[line - 1]
    if (from === undefined) return ''
    const next = starts[line]
    return this.text.slice(from, next === undefined ? undefined : next - 1).replace(/\r$/, '')
  }

  problem(severity: Severity, position: Position, message: string, path?: Path): Problem {
    return { severity, message, ...position, ...(path && { path }), excerpt: this.line(position.line) }
  }

  #starts(): number[] {
    if (!this.#lineStarts) {
      this.#lineStarts = [0]
      for (let i = this.text.indexOf('\n'); i >= 0; i = this.text.indexOf('\n', i + 1)) this.#lineStarts.push(i + 1)
    }
    return this.#lineStarts
  }
}

/** A part of a stream of documents, between two `---`. */
export interface Chunk {
  text: string
  /** Where it starts in the source. */
  offset: number
}

/**
 * Cuts a stream at its `---` lines (which cannot stand inside of a document), so that each part can be parsed by
 * itself. A stream with directives stays whole, since they belong to what follows.
 */
export function chunksOf(text: string): Chunk[] {
  if (/^%/m.test(text)) return [{ text, offset: 0 }]
  const chunks: Chunk[] = []
  let from = 0
  for (const { index } of text.matchAll(/^---(?=\s|$)/gm)) {
    if (index > from) chunks.push({ text: text.slice(from, index), offset: from })
    from = index
  }
  chunks.push({ text: text.slice(from), offset: from })
  return chunks
}

/** The value of a chunk that is JSON without duplicate keys: a fast way in for machine-written documents. */
export function jsonOf(chunk: string): { value: unknown; start: number } | undefined {
  const start = /^(?:---[ \t\r\n]+|\s+)?(?=[{[])/.exec(chunk)?.[0].length ?? -1
  if (start < 0) return undefined
  const text = chunk.slice(start)
  try {
    const value: unknown = JSON.parse(text)
    return pairsIn(value) === colonsIn(text) ? { value, start } : undefined
  } catch {
    return undefined
  }
}

function pairsIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const parts: unknown[] = Object.values(value)
  return parts.reduce((sum: number, part) => sum + pairsIn(part), Array.isArray(value) ? 0 : parts.length)
}

/** How many fields a JSON text has: it has one colon outside of strings for each. */
function colonsIn(json: string): number {
  let colons = 0
  for (let i = 0; i < json.length; i++) {
    const c = json.charCodeAt(i)
    if (c === 0x3a) colons++
    else if (c === 0x22) {
      for (i++; json.charCodeAt(i) !== 0x22; i++) if (json.charCodeAt(i) === 0x5c) i++
    }
  }
  return colons
}
