import fs from 'node:fs'
import path from 'node:path'
import { fromBinary, type Message } from '@bufbuild/protobuf'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { decodeJson } from './json-decode.ts'
import { schemaOf } from './messages.ts'
import { type Problem, problemText } from './problem.ts'
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
export async function loadBootstrap(file: string): Promise<Bootstrap> {
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
export async function parseBootstrap(text: string, file: string): Promise<Bootstrap> {
  const plain = plainJson(text)
  if (plain) {
    const { message, problems } = read(plain)
    if (problems.length === 0) return message
  }
  // YAML, or JSON with something wrong in it, which this reader can place.
  const { readYaml } = await import('./yaml-text.ts')
  const { value, faults, placeOf } = readYaml(text)
  if (faults.length) throw new BootstrapError(faults.map((fault) => ({ ...fault, file, path: [] })))
  const { message, problems } = read(value ?? {})
  if (problems.length) throw new BootstrapError(problems.map((p) => ({ ...p, ...placeOf(p.path), file })))
  return message
}

function read(json: unknown): { message: Bootstrap; problems: readonly Problem[] } {
  const { message, problems } = decodeJson(schemaOf(BOOTSTRAP), json)
  // What could not be read would only be complained of a second time.
  return { message: message as unknown as Bootstrap, problems: problems.length ? problems : validate(message) }
}

/**
 * What a JSON object holds; undefined for all else, and when a key stands twice in one object, which JSON.parse
 * would not tell. Most bootstraps are made by programs, as JSON: they need not wait for the YAML parser.
 */
function plainJson(text: string): object | undefined {
  if (!/^\s*\{/.test(text)) return undefined
  let value: object
  try {
    value = JSON.parse(text) as object
  } catch {
    return undefined
  }
  const strings = text.match(/"[^"\\]*(?:\\.[^"\\]*)*"(?:\s*:)?/g) ?? []
  return strings.filter((s) => s.endsWith(':')).length === keysIn(value) ? value : undefined
}

function keysIn(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const inside = Object.values(value)
  return inside.reduce<number>((sum, child) => sum + keysIn(child), Array.isArray(value) ? 0 : inside.length)
}

function placed(file: string, message: string): BootstrapError {
  return new BootstrapError([{ file, line: 1, column: 1, path: [], message }])
}
