import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { HeaderMutation } from '#gen/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js'
import type { Runtime } from '../../runtime.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'
import { ConfigError } from '../context.ts'
import { MutationList } from './router/mutation-list.ts'

const HEADER_MUTATION = 'envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation'

/** Compiles an entry of `early_header_mutation_extensions`: it changes headers before anything else looks at them. Throws ConfigError. */
export function compileEarlyMutation(extension: TypedExtensionConfig, runtime: Runtime): MutationList {
  const any = extension.typedConfig
  const type = any === undefined ? '' : configTypeName(any)
  if (any === undefined || type !== HEADER_MUTATION) {
    throw new ConfigError([
      `early_header_mutation_extensions: Didn't find a registered implementation for '${extension.name}' with type URL: '${type}'`,
    ])
  }
  return new MutationList((resolveTypedConfig(any).message as HeaderMutation).mutations, runtime, 'mutations')
}
