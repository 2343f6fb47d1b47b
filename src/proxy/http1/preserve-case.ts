import type { Http1ProtocolOptions } from '#gen/envoy/config/core/v3/protocol_pb.js'
import type { PreserveCaseFormatterConfig } from '#gen/envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case_pb.js'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError } from '../context.ts'
import type { HeaderCase } from './settings.ts'

const PRESERVE_CASE = 'envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig'
const PROPER_CASE = 1

/** How names are written that a message did not have, where a `stateful_formatter` preserves the others; undefined without one. Throws ConfigError. */
export function preservedCase(http1: Http1ProtocolOptions | undefined): HeaderCase | undefined {
  const format = http1?.headerKeyFormat?.headerFormat
  if (format?.case !== 'statefulFormatter') return undefined
  const any = format.value.typedConfig
  const type = any === undefined ? '' : configTypeName(any)
  const path = 'header_key_format.stateful_formatter'
  if (any === undefined || type !== PRESERVE_CASE) {
    throw new ConfigError([
      `${path}: Didn't find a registered implementation for '${format.value.name}' with type URL: '${type}'`,
    ])
  }
  const config = resolveTypedConfig(any).message as PreserveCaseFormatterConfig
  if (config.forwardReasonPhrase) throw new ConfigError([`${path}.forward_reason_phrase: not supported`])
  return (config.formatterTypeOnEnvoyHeaders as number) === PROPER_CASE ? 'proper' : 'lower'
}
