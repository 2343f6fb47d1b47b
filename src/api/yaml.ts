import type { Document, Node, Pair, ParsedNode, YAMLMap } from 'yaml'
import { isAlias, isCollection, isMap, isScalar, isSeq, parseAllDocuments, Scalar } from 'yaml'
import type { Path, Position } from './objects.ts'
import type { Problem, Severity } from './problems.ts'
import { chunksOf, jsonOf, Source } from './source.ts'

type ParsedNodes = Document.Parsed<ParsedNode>

/** One parsed document: its value, and the place of everything in it. */
export interface YamlDocument {
  readonly file: string
  /** Whether parts of the file were left out as "...": then what is required may be missing. */
  readonly elided: boolean
  /** Plain JSON, aliases and merge keys resolved. */
  readonly value: unknown
  /** Where the document starts. */
  readonly start: Position
  /** The place of what stands at a path: of a scalar itself, of the key of a block. Missing: of what is nearest. */
  locate(path: Path): Position
  /** The place of the key of a field. */
  locateKey(path: Path): Position
  /** A problem with the place of `path` (of its key, if `atKey`). */
  problem(severity: Severity, path: Path, message: string, atKey?: boolean): Problem
  /** A problem with a place that is known already. */
  problemAt(severity: Severity, position: Position, path: Path, message: string): Problem
  /** If a string at `path` is a block scalar (`|`, `>`): the line before its text, and how far the text is indented. */
  blockOrigin(path: Path): { line: number; indent: number } | undefined
}

/** What came out of a file. */
export interface ParsedYaml {
  documents: YamlDocument[]
  problems: Problem[]
}

/** kubectl reads YAML 1.1, where these words are booleans and a leading zero makes a number octal. */
const BOOL_11 = {
  identify: (value: unknown) => typeof value === 'boolean',
  default: true as const,
  tag: 'tag:yaml.org,2002:bool',
  test: /^(?:yes|Yes|YES|true|True|TRUE|on|On|ON|no|No|NO|false|False|FALSE|off|Off|OFF)$/,
  resolve: (text: string) => /^(?:y|t|on)/i.test(text),
}
const OCTAL_11 = {
  identify: (value: unknown) => typeof value === 'number' && Number.isInteger(value) && value >= 0,
  default: true as const,
  tag: 'tag:yaml.org,2002:int',
  test: /^0[0-7]+$/,
  resolve: (text: string) => Number.parseInt(text, 8),
}

/** A line of nothing but dots, indented: what people write where they leave something out. */
const ELISION = /^[ \t]+\.\.\.[ \t]*$/gm

/**
 * Parses a stream of YAML (or JSON) documents. Syntax errors and duplicate keys are problems, one for each document
 * that has them; such a document is left out. An indented line `...` is left out with a warning (with `strict`: it is
 * the syntax error that it is).
 */
export function parseYaml(file: string, text: string, options: { strict?: boolean } = {}): ParsedYaml {
  const source = new Source(file, text)
  const first = parse(source, text)
  const elisions = [...text.matchAll(ELISION)]
  if (first.problems.length === 0 || options.strict || elisions.length === 0) return first
  const blanked = new Source(file, text)
  const second = parse(
    blanked,
    text.replace(ELISION, (line) => ' '.repeat(line.length)),
  )
  if (second.problems.length >= first.problems.length) return first
  for (const match of elisions) {
    const position = blanked.position((match.index ?? 0) + match[0].indexOf('.'))
    second.problems.push(blanked.problem('warning', position, '"..." is not YAML: taken as "left out", and ignored'))
  }
  return second
}

/** `text` is that of the source, or of the same length. */
function parse(source: Source, text: string): ParsedYaml {
  const result: ParsedYaml = { documents: [], problems: [] }
  const elided = text !== source.text
  for (const chunk of chunksOf(text)) {
    const json = jsonOf(chunk.text)
    if (json) {
      const nodes = () => parseNodes(chunk.text)[0] as ParsedNodes
      result.documents.push(new ParsedDocument(source, chunk.offset, json.value, nodes, elided, json.start))
      continue
    }
    for (const document of parseNodes(chunk.text)) {
      const error = document.errors[0]
      if (error) {
        // What ends too early is found missing after the last line, where there is nothing to show.
        const offset = chunk.offset + Math.min(error.pos[0], chunk.text.trimEnd().length)
        const message = error.message.replace(/\s+at line \d+[\s\S]*$/, '')
        const said =
          error.code === 'DUPLICATE_KEY' ? `${duplicateKey(source, offset)} is given twice` : `YAML: ${message}`
        result.problems.push(source.problem('error', source.position(offset), said))
        continue
      }
      const start = document.contents?.range[0] ?? document.range[0]
      try {
        const value: unknown = document.toJS({ maxAliasCount: 1000 })
        result.documents.push(new ParsedDocument(source, chunk.offset, value, () => document, elided, start))
      } catch (error) {
        const position = source.position(chunk.offset + start)
        result.problems.push(source.problem('error', position, `YAML: ${(error as Error).message}`))
      }
    }
  }
  return result
}

function parseNodes(text: string): ParsedNodes[] {
  return parseAllDocuments(text, {
    merge: true,
    prettyErrors: false,
    customTags: (tags) => [BOOL_11, OCTAL_11, ...tags],
  }) as ParsedNodes[]
}

function duplicateKey(source: Source, offset: number): string {
  const key = /^(?:"[^"]*"|'[^']*'|[^\s:]+)/.exec(source.text.slice(offset, offset + 200))?.[0] ?? 'a key'
  return `field ${key.startsWith('"') ? key : JSON.stringify(key.replace(/^'|'$/g, ''))}`
}

class ParsedDocument implements YamlDocument {
  readonly value: unknown
  readonly elided: boolean
  readonly #source: Source
  readonly #offset: number
  readonly #start: number
  /** The nodes of a JSON document are made only when a place is asked for. */
  readonly #parse: () => ParsedNodes
  #nodes: ParsedNodes | undefined

  constructor(
    source: Source,
    offset: number,
    value: unknown,
    parse: () => ParsedNodes,
    elided: boolean,
    start: number,
  ) {
    this.#source = source
    this.#offset = offset
    this.value = value
    this.#parse = parse
    this.elided = elided
    this.#start = start
  }

  get file(): string {
    return this.#source.file
  }

  get start(): Position {
    return this.#at(this.#start)
  }

  locate(path: Path): Position {
    const { key, node } = this.#find(path)
    const range = node?.range
    const block = isCollection(node) && !node.flow
    const written = range && !block && !(isScalar(node) && node.type === Scalar.PLAIN && node.source === '')
    if (written) return this.#at(range[0])
    return this.#at((key ?? node)?.range?.[0] ?? this.#start)
  }

  locateKey(path: Path): Position {
    const { key, node } = this.#find(path)
    return this.#at((key ?? node)?.range?.[0] ?? this.#start)
  }

  problem(severity: Severity, path: Path, message: string, atKey = false): Problem {
    return this.#source.problem(severity, atKey ? this.locateKey(path) : this.locate(path), message, path)
  }

  problemAt(severity: Severity, position: Position, path: Path, message: string): Problem {
    return this.#source.problem(severity, position, message, path)
  }

  blockOrigin(path: Path): { line: number; indent: number } | undefined {
    const { node, depth } = this.#find(path)
    if (depth !== path.length || !isScalar(node) || !node.range) return undefined
    if (node.type !== Scalar.BLOCK_LITERAL && node.type !== Scalar.BLOCK_FOLDED) return undefined
    const { line } = this.#at(node.range[0])
    return { line, indent: /^ */.exec(this.#source.line(line + 1))?.[0].length ?? 0 }
  }

  #at(offset: number): Position {
    return this.#source.position(this.#offset + offset)
  }

  /** The node at a path, or its nearest ancestor, with the key that it stands under (none for list entries). */
  #find(path: Path): { key?: Node; node: Node | null; depth: number } {
    this.#nodes ??= this.#parse()
    const document = this.#nodes
    let node: Node | null = document.contents
    let key: Node | undefined
    let depth = 0
    for (const part of path) {
      const holder: Node | null | undefined = isAlias(node) ? node.resolve(document) : node
      if (isMap(holder)) {
        const pair = pairOf(holder, String(part), document)
        if (!pair) break
        key = pair.key as Node
        node = (pair.value as Node | null) ?? key
      } else if (isSeq(holder)) {
        const item = holder.items[Number(part)]
        if (!item) break
        node = item as Node
        key = undefined
      } else break
      depth++
    }
    return { ...(key && { key }), node, depth }
  }
}

function pairOf(map: YAMLMap, name: string, document: Document): Pair | undefined {
  let merged: Pair | undefined
  for (const pair of map.items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : undefined
    if (key === name) return pair
    if (key !== '<<' && !(isScalar(pair.key) && typeof pair.key.value === 'symbol')) continue
    const from = isAlias(pair.value) ? pair.value.resolve(document) : pair.value
    if (isMap(from)) merged = pairOf(from, name, document) ?? merged
  }
  return merged
}
