import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'

const PREFIX = 'envoy.reloadable_features.'

/**
 * The feature guards that static runtime layers set, without their prefix; a later layer wins
 * (source/common/runtime/runtime_impl.cc). Keys may be nested objects or dotted names.
 */
export function runtimeFeatures(bootstrap: Bootstrap): ReadonlyMap<string, boolean> {
  const features = new Map<string, boolean>()
  const read = (value: unknown, key: string): void => {
    if (typeof value === 'object' && value !== null) {
      for (const [name, inner] of Object.entries(value)) read(inner, key ? `${key}.${name}` : name)
      return
    }
    const flag = typeof value === 'string' ? ({ true: true, false: false } as Record<string, boolean>)[value] : value
    if (key.startsWith(PREFIX) && typeof flag === 'boolean') features.set(key.slice(PREFIX.length), flag)
  }
  for (const { layerSpecifier } of bootstrap.layeredRuntime?.layers ?? []) {
    if (layerSpecifier.case === 'staticLayer') read(layerSpecifier.value, '')
  }
  return features
}
