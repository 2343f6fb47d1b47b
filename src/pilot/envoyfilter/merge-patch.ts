import type { Message } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { mergeAny, mergeMessage, TypeMismatch } from './merge.ts'
import type { Patch } from './patch.ts'

/** Merges a patch's value into what it is for. Throws TypeMismatch, which the patch then tells of. */
export function mergePatch(target: { $typeName: string }, patch: Patch): void {
  noting(patch, () =>
    mergeMessage(
      target as unknown as Message,
      patch.value as unknown as Message,
      patch.operation === 'MERGE_AND_REPLACE_LIST',
    ),
  )
}

/** A filter's or transport socket's config with a patch's merged into it. Throws TypeMismatch, likewise. */
export const mergeConfig = (config: Any, given: Any, patch: Patch): Any => noting(patch, () => mergeAny(config, given))

/** Something whose config is an extension's. */
interface Configured {
  configType: { case: 'typedConfig'; value: Any } | { case?: string | undefined; value?: unknown }
}

/** Merges the config of one filter or socket into another's, where both have one. Throws TypeMismatch, likewise. */
export function mergeConfigured(own: Configured, given: Configured, patch: Patch): void {
  if (own.configType.case === 'typedConfig' && given.configType.case === 'typedConfig')
    own.configType = {
      case: 'typedConfig',
      value: mergeConfig(own.configType.value as Any, given.configType.value as Any, patch),
    }
}

function noting<T>(patch: Patch, merge: () => T): T {
  try {
    return merge()
  } catch (error) {
    if (error instanceof TypeMismatch)
      patch.failure = `${error.message}: it has no effect there, nor have the patches after it`
    throw error
  }
}
