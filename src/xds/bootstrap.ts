import fs from 'node:fs'
import path from 'node:path'
import { fromBinary, type Message } from '@bufbuild/protobuf'
import { type Document, isNode, isPair, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { decodeJson } from './json-decode.ts'
import { schemaOf } from './messages.ts'
import { type PathStep, type Problem, problemText } from './problem.ts'
import { validate } from './validate.ts'

const BOOTSTRAP = 'envoy.config.bootstrap.v3.Bootstrap'

/** A problem with its place in a file; line and column count from 1. */
export interface PlacedProblem extends Problem {
  readonly file: string
  readonly line: number
  readonly column: number
}

/** A bootstrap that cannot be used. The message has one line per problem: `file:line:col: path: what`. */
export class BootstrapError extends Error {
  readonly problems: readonly PlacedProblem[]

  constructor(problems: readonly PlacedProblem[]) {
    super(problems.map((p) => `${p.file}:${p.line}:${p.column}: ${problemText(p)}`).join('\n'))
    this.problems = problems
  }
}

/**
 * Reads and validates an Envoy bootstrap file: YAML or JSON, or binary protobuf for `.pb`, as Envoy chooses by the
 * extension (source/common/protobuf/utility.cc, loadFromFile). Throws a BootstrapError with everything found wrong;
 * a file that cannot be opened throws the system's error.
 */
export function loadBootstrap(file: string): Bootstrap {
  const extension = path.extname(file)
  if (extension === '.pb_text')
    throw placed(file, 'text-format protobuf (.pb_text) is not read: give YAML, JSON or .pb')
  if (extension !== '.pb') return parseBootstrap(fs.readFileSync(file, 'utf8'), file)
  let bootstrap: Message
  try {
    bootstrap = fromBinary(schemaOf(BOOTSTRAP), fs.readFileSync(file))
  } catch (error) {
    throw placed(file, `no ${BOOTSTRAP}: ${error instanceof Error ? error.message : String(error)}`)
  }
  const violations = validate(bootstrap)
  if (violations.length) throw new BootstrapError(violations.map((v) => ({ ...v, file, line: 1, column: 1 })))
  return bootstrap as unknown as Bootstrap
}

/** Reads and validates a bootstrap from YAML or JSON text; `file` is for messages. Throws a BootstrapError. */
export function parseBootstrap(text: string, file: string): Bootstrap {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(1, line), column: Math.max(1, col) }
  }
  if (document.errors.length)
    throw new BootstrapError(document.errors.map((e) => ({ ...place(e.pos[0]), path: [], message: e.message })))
  noteUnresolvedAliases(document, (offset, message) => {
    throw new BootstrapError([{ ...place(offset), path: [], message }])
  })
  const { message, problems } = decodeJson(schemaOf(BOOTSTRAP), document.toJS({ maxAliasCount: -1 }) ?? {})
  // What could not be read would only be complained of a second time.
  const all: readonly Problem[] = problems.length ? problems : validate(message)
  if (all.length)
    throw new BootstrapError(all.map((problem) => ({ ...problem, ...place(offsetOf(document, problem.path)) })))
  return message as unknown as Bootstrap
}

function placed(file: string, message: string): BootstrapError {
  return new BootstrapError([{ file, line: 1, column: 1, path: [], message }])
}

/** Where a path leads in the document: the key of its last step, or the deepest part that exists. */
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

function noteUnresolvedAliases(document: Document, report: (offset: number, message: string) => void): void {
  visit(document, {
    Alias(_, alias) {
      if (!alias.resolve(document)) report(alias.range?.[0] ?? 0, `unknown alias *${alias.source}`)
    },
  })
}
