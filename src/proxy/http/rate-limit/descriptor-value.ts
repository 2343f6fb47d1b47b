import { toByteString } from '../../observe/format/bytes.ts'
import { compileFormat } from '../../observe/formatter.ts'
import type { StreamInfo } from '../../stream-info.ts'
import type { RateLimitContext } from './context.ts'

/** The value of an entry for a stream; undefined: it has none, and the descriptor falls away. */
export type DescriptorValue = (info: StreamInfo) => string | undefined

/** The guard under which Envoy reads formats in the values of actions; off unless a runtime layer sets it. */
const FORMATS_GUARD = 'envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value'

/**
 * A `descriptor_value`: literally what it says, or a format, with `default_value` in the place of an empty result
 * (source/common/router/router_ratelimit.cc). `formats` makes it a format whatever the guard says. Throws ConfigError.
 */
export function compileDescriptorValue(
  text: string,
  preset: string,
  { runtime, values }: RateLimitContext,
  formats = values?.get(FORMATS_GUARD) === true || values?.get(FORMATS_GUARD) === 'true',
): DescriptorValue {
  const literal = toByteString(text)
  if (!formats) return () => literal
  const formatter = compileFormat(text, runtime, { omitEmpty: true })
  const otherwise = preset === '' ? undefined : toByteString(preset)
  return (info) => formatter.format(info) || otherwise
}
