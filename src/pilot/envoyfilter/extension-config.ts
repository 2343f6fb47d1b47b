import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import { EXTENSION_TYPE } from '../../xds/resource-types.ts'
import type { ProxyNode } from '../proxy.ts'
import type { PushContext } from '../scope/push-context.ts'

/**
 * The extension configs of the names that a proxy asks for: EnvoyFilters alone make any, whatever context they state
 * (istio/istio, pilot/pkg/networking/core/envoyfilter/extension_configuration_patch.go).
 */
export function extensionConfigs(
  push: PushContext,
  proxy: ProxyNode,
  names: Iterable<string>,
): Map<string, TypedExtensionConfig> {
  const out = new Map<string, TypedExtensionConfig>()
  const patches = push.envoyFilters.forProxy(proxy)
  const wanted = new Set(names)
  if (!patches || wanted.size === 0) return out
  for (const patch of patches.all('EXTENSION_CONFIG')) {
    const { name } = patch.value
    if (patch.operation !== 'ADD') continue
    if (!wanted.has(name)) {
      patch.sought.missed('extension config', wanted)
      continue
    }
    patch.hits++
    patches.touch(EXTENSION_TYPE, name, patch)
    // Envoy refuses a response that has one name twice.
    if (out.has(name)) patch.failure = `there is an extension config called "${name}" before it, and that is taken`
    else out.set(name, patch.value)
  }
  for (const name of wanted) {
    if (out.has(name)) continue
    for (const patch of patches.all('HTTP_FILTER', 'NETWORK_FILTER', 'LISTENER_FILTER'))
      if (patch.value.configType.case === 'configDiscovery' && patch.value.name === name) patch.undiscovered = true
  }
  return out
}
