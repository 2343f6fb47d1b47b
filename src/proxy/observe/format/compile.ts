import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'
import type { SubstitutionFormatString } from '#gen/envoy/config/core/v3/substitution_format_string_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { typeNameOf } from '../../../xds/messages.ts'
import { ConfigError } from '../../context.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { jsonEscape, jsonNumber, jsonString, sortedKeys, toByteString } from './bytes.ts'
import { type FormatterExtension, parseFormat, type Segment } from './parse.ts'

/**
 * A compiled format. What it gives is a byte string: one char per byte, to be written as latin1, so that
 * header bytes leave as they came and configured text leaves in UTF-8.
 */
export interface Formatter {
  format(info: StreamInfo): string
}

/** Envoy's format of loggers that have none (source/common/formatter/http_formatter_context.cc). */
export const DEFAULT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" ' +
  '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'

type Text = (info: StreamInfo) => string | undefined

/** Literals and operators in turn: `literals[0] ops[0] literals[1] …`. */
class TextFormatter implements Formatter {
  readonly #literals: readonly string[]
  readonly #operators: readonly Text[]
  readonly #missing: string

  constructor(segments: readonly Segment[], missing: string) {
    const literals = ['']
    const operators: Text[] = []
    for (const segment of segments) {
      if (typeof segment === 'string') literals[literals.length - 1] += segment
      else {
        operators.push(segment.text)
        literals.push('')
      }
    }
    this.#literals = literals
    this.#operators = operators
    this.#missing = missing
  }

  format(info: StreamInfo): string {
    const literals = this.#literals
    const operators = this.#operators
    const missing = this.#missing
    let line = literals[0]!
    for (let i = 0; i < operators.length; i++) line += (operators[i]!(info) ?? missing) + literals[i + 1]!
    return line
  }
}

/** A literal format costs nothing. */
class LiteralFormatter implements Formatter {
  readonly #text: string
  constructor(text: string) {
    this.#text = text
  }
  format(): string {
    return this.#text
  }
}

function textFormatter(segments: readonly Segment[], missing: string): Formatter {
  if (segments.every((s) => typeof s === 'string')) return new LiteralFormatter(segments.join(''))
  return new TextFormatter(segments, missing)
}

/**
 * Compiles a text format with `%OPERATOR%`s (source/common/formatter/substitution_formatter.cc). What is
 * missing is written `-`, or as nothing with `omitEmpty`. Throws ConfigError with Envoy's words.
 */
export function compileFormat(format: string, runtime: Runtime, options: { omitEmpty?: boolean } = {}): Formatter {
  return textFormatter(parseFormat(format, runtime), options.omitEmpty ? '' : '-')
}

const LEGACY_METADATA = /%(UPSTREAM|DYNAMIC)_METADATA\(\s*(\[[\s\S]+?\]\s*)\)%/g
const LEGACY_STATE = /%PER_REQUEST_STATE\((.+?)\)%/g

/**
 * Compiles the value of a header to add: what is missing is written as nothing, and the older spellings
 * `%DYNAMIC_METADATA(["a","b"])%` and `%PER_REQUEST_STATE(x)%` are understood (source/common/router/header_parser.cc).
 */
export function compileHeaderFormat(value: string, runtime: Runtime): Formatter {
  const modern = value
    .replace(LEGACY_METADATA, (all: string, kind: string, json: string) => {
      try {
        const path: unknown = JSON.parse(json)
        const usable = Array.isArray(path) && path.length > 0 && path.every((p) => typeof p === 'string')
        return usable ? `%${kind}_METADATA(${path.join(':')})%` : all
      } catch {
        return all
      }
    })
    .replace(LEGACY_STATE, '%FILTER_STATE($1:PLAIN)%')
  return textFormatter(parseFormat(modern, runtime), '')
}

/** A piece of a JSON format: literal JSON, one operator with its type, or text made of several. */
type JsonPiece = string | ((info: StreamInfo) => string)

function templatePiece(segments: readonly Segment[], missing: string): JsonPiece {
  if (segments.length === 1 && typeof segments[0] !== 'string') return segments[0]!.json
  const inner = textFormatter(
    segments.map((s) => {
      if (typeof s === 'string') return jsonEscape(s)
      return {
        json: s.json,
        text: (info) => {
          const text = s.text(info)
          return text === undefined ? undefined : jsonEscape(text)
        },
      } satisfies Segment
    }),
    missing,
  )
  return (info) => `"${inner.format(info)}"`
}

class JsonFormatter implements Formatter {
  readonly #pieces: readonly JsonPiece[]
  constructor(pieces: readonly JsonPiece[]) {
    this.#pieces = pieces
  }
  format(info: StreamInfo): string {
    let line = ''
    for (const piece of this.#pieces) line += typeof piece === 'string' ? piece : piece(info)
    return line
  }
}

/**
 * Compiles a JSON format: keys sorted, a lone operator keeps its type (numbers, `null` when missing), text
 * around it makes a string. Ends with a newline. Throws ConfigError.
 */
export function compileJsonFormat(
  format: Readonly<Record<string, unknown>>,
  runtime: Runtime,
  options: { omitEmptyValues?: boolean; extensions?: ReadonlySet<FormatterExtension> } = {},
): Formatter {
  const pieces: JsonPiece[] = []
  let literal = ''
  const add = (value: unknown): void => {
    if (typeof value === 'string') {
      if (!value.includes('%')) literal += jsonString(toByteString(value))
      else {
        pieces.push(literal)
        literal = ''
        const segments = parseFormat(value, runtime, options.extensions)
        pieces.push(templatePiece(segments, options.omitEmptyValues ? '' : '-'))
      }
    } else if (typeof value === 'number') literal += jsonNumber(value)
    else if (typeof value === 'boolean') literal += String(value)
    else if (Array.isArray(value)) {
      literal += '['
      value.forEach((item, i) => {
        if (i > 0) literal += ','
        add(item)
      })
      literal += ']'
    } else if (value !== null && typeof value === 'object') {
      const object = value as Record<string, unknown>
      literal += '{'
      sortedKeys(object).forEach((key, i) => {
        literal += `${i > 0 ? ',' : ''}${jsonString(toByteString(key))}:`
        add(object[key])
      })
      literal += '}'
    } else literal += 'null'
  }
  add(format)
  pieces.push(`${literal}\n`)
  return new JsonFormatter(pieces)
}

/** Formatter extensions by the type they are configured with; true: its operators are built in anyway. */
const EXTENSIONS: Readonly<Record<string, FormatterExtension | true>> = {
  'envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery': 'envoy.formatter.req_without_query',
  'envoy.extensions.formatter.metadata.v3.Metadata': true,
  'envoy.extensions.formatter.cel.v3.Cel': true,
}

/**
 * Compiles a SubstitutionFormatString (source/common/formatter/substitution_format_string.cc). Throws
 * ConfigError.
 */
export function compileSubstitutionFormat(
  config: SubstitutionFormatString,
  runtime: Runtime,
  readSource: (source: DataSource) => string,
): Formatter {
  const extensions = new Set<FormatterExtension>()
  for (const formatter of config.formatters) {
    const type = typeNameOf(formatter.typedConfig?.typeUrl ?? '')
    const known = Object.hasOwn(EXTENSIONS, type) ? EXTENSIONS[type] : undefined
    if (known === undefined) throw new ConfigError([`formatters: ${formatter.name || type} is not supported`])
    if (known !== true) extensions.add(known)
  }
  const omitEmptyValues = config.omitEmptyValues
  switch (config.format.case) {
    case 'textFormat':
      return textFormatter(parseFormat(config.format.value, runtime, extensions), omitEmptyValues ? '' : '-')
    case 'textFormatSource': {
      const text = readSource(config.format.value)
      return textFormatter(parseFormat(text, runtime, extensions), omitEmptyValues ? '' : '-')
    }
    case 'jsonFormat':
      return compileJsonFormat(config.format.value, runtime, { omitEmptyValues, extensions })
    default:
      throw new ConfigError([
        'Proto constraint validation failed (SubstitutionFormatStringValidationError.Format: is required)',
      ])
  }
}
