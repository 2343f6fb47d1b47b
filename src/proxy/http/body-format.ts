import type { SubstitutionFormatString } from '#gen/envoy/config/core/v3/substitution_format_string_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError } from '../context.ts'
import { compileSubstitutionFormat, type Formatter } from '../observe/format/compile.ts'
import { readDataSource } from '../tls/data-source.ts'

/** How the body of an answer of the proxy's own is made, and what it is then. */
export interface BodyFormat {
  readonly formatter: Formatter
  readonly contentType: string
}

/** The content type of an answer that says nothing else. */
export const PLAIN_TEXT = 'text/plain'

/** Compiles a body format; JSON unless told otherwise is `application/json`. Throws ConfigError. */
export function compileBodyFormat(config: SubstitutionFormatString, runtime: Runtime): BodyFormat {
  const formatter = compileSubstitutionFormat(config, runtime, (source) => {
    const errors: string[] = []
    const bytes = readDataSource(source, 'text_format_source', errors)
    if (errors.length > 0) throw new ConfigError(errors)
    return bytes?.toString('utf8') ?? ''
  })
  const json = config.format.case === 'jsonFormat' ? 'application/json' : PLAIN_TEXT
  return { formatter, contentType: config.contentType === '' ? json : config.contentType }
}
