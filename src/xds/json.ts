import type { JsonValue, Message } from '@bufbuild/protobuf'
import type { Messages } from '#gen/types.js'
import { decodeJson } from './json-decode.ts'
import { type EncodeOptions, encodeJson } from './json-encode.ts'
import { type MessageName, schemaOf } from './messages.ts'
import { type Problem, problemText } from './problem.ts'

/** A config that could not be read, with everything that is wrong with it. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[]) {
    super(problems.map(problemText).join('\n'))
    this.problems = problems
  }
}

/** Reads the named message from a proto3 JSON value. Throws a ConfigError that lists every problem with its path. */
export function readJson<N extends MessageName>(name: N, json: unknown): Messages[N] {
  const { message, problems } = decodeJson(schemaOf(name), json)
  if (problems.length) throw new ConfigError(problems)
  return message as unknown as Messages[N]
}

/** Writes a message as proto3 JSON, snake_case, defaults left out; `redact` hides secrets. */
export function writeJson(message: { readonly $typeName: string }, options?: EncodeOptions): JsonValue {
  return encodeJson(message as Message, options)
}
