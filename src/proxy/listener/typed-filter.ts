import type { Message } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { problemText } from '../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../xds/typed-config.ts'

/** A named extension as listeners hold them: filters and listener filters. */
export interface NamedExtension {
  readonly name: string
  readonly configType:
    | { readonly case: 'typedConfig'; readonly value: Any }
    | { readonly case: 'configDiscovery'; readonly value: unknown }
    | { readonly case: undefined; readonly value?: undefined }
}

/** The type and content of an extension's config. Throws with all that is wrong with it. */
export function openTypedConfig(extension: NamedExtension): { typeName: string; message: Message } {
  const { configType } = extension
  if (configType.case === 'configDiscovery') {
    throw new Error(`filter '${extension.name}': config_discovery is not supported`)
  }
  if (configType.case === undefined) {
    throw new Error(`Didn't find a registered implementation for '${extension.name}' with type URL: ''`)
  }
  return openAny(extension.name, configType.value)
}

/** The same for a bare Any, such as a transport socket's. */
export function openAny(name: string, any: Any): { typeName: string; message: Message } {
  const { message, problems } = resolveTypedConfig(any)
  if (!message) {
    throw new Error(`Didn't find a registered implementation for '${name}' with type URL: '${configTypeName(any)}'`)
  }
  if (problems.length > 0) throw new Error(problems.map(problemText).join('; '))
  return { typeName: configTypeName(any), message }
}
