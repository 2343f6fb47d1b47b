import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { ConfigError } from '../context.ts'
import type { RuntimeValues } from '../runtime-values.ts'

/**
 * Whatever static runtime layers set, by dotted key; a later layer wins (source/common/runtime/runtime_impl.cc). Keys may
 * be nested objects or dotted names.
 */
export function runtimeValues(bootstrap: Bootstrap): RuntimeValues {
  const values = new Map<string, string | number | boolean>()
  const read = (value: unknown, key: string): void => {
    if (value === null || Array.isArray(value)) throw new ConfigError([`Invalid runtime entry value for ${key}`])
    if (typeof value === 'object') {
      for (const [name, inner] of Object.entries(value)) read(inner, key ? `${key}.${name}` : name)
    } else if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      values.set(key, value)
    }
  }
  for (const { layerSpecifier } of bootstrap.layeredRuntime?.layers ?? []) {
    if (layerSpecifier.case === 'staticLayer') read(layerSpecifier.value, '')
  }
  return values
}
