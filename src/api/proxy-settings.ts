import { parse } from 'yaml'
import { MeshProxyConfig } from './kinds/mesh-proxy-config.ts'

/** The annotation by which a pod changes the settings of its own proxy. */
export const PROXY_CONFIG_ANNOTATION = 'proxy.istio.io/config'

/** What an annotation `proxy.istio.io/config` says: settings, or why it cannot be read. */
export interface ProxySettingsText {
  readonly settings: MeshProxyConfig
  readonly error?: string
}

/** Reads the annotation's YAML; what cannot be read changes nothing, as in istiod (pilot/pkg/model/proxy_config.go). */
export function proxySettingsOf(text: string | undefined): ProxySettingsText {
  if (text === undefined || text.trim() === '') return { settings: {} }
  let value: unknown
  try {
    value = parse(text)
  } catch (e) {
    return { settings: {}, error: (e as Error).message.split('\n', 1)[0] ?? '' }
  }
  if (value === null || value === undefined) return { settings: {} }
  const parsed = MeshProxyConfig.safeParse(camelCase(value))
  if (parsed.success) return { settings: parsed.data }
  const [issue] = parsed.error.issues
  return { settings: {}, error: `${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'cannot be read'}` }
}

/** Field names may be written as in the proto; keys of free-form maps stay as they are. */
function camelCase(value: unknown, free = false): unknown {
  if (Array.isArray(value)) return value.map((item) => camelCase(item))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, part]) => part !== null)
      .map(([key, part]) => {
        const name = free ? key : key.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase())
        return [name, camelCase(part, name === 'proxyMetadata' || name === 'runtimeValues' || name === 'customTags')]
      }),
  )
}
