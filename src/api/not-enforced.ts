import { annotations, PROXY_SETTINGS } from './not-enforced-sidecars.ts'
import type { ApiObject, Kind, Path } from './objects.ts'
import { PROXY_CONFIG_ANNOTATION, proxySettingsOf } from './proxy-settings.ts'
import { WITHOUT_EFFECT } from './without-effect.ts'

/** A field (or a whole kind) that is read and checked, but does nothing yet. */
export interface NotEnforced {
  /**
   * The kind, then the path of the field: `[]` is any entry of a list, `{}` any entry of a map, `=X` asks for that
   * value, `~X` for one that the regular expression finds, `"a.b/c"` is a key that holds dots. Without a path, the
   * whole kind.
   */
  pattern: string
  /** What does not happen. */
  words: string
}

const rows = (kind: Kind, ...fields: [path: string, words: string][]): NotEnforced[] =>
  fields.map(([path, words]) => ({ pattern: path === '' ? kind : `${kind} ${path}`, words }))

/** Extension providers that nothing here calls. */
const PROVIDERS = [
  'zipkin',
  'opentelemetry',
  'datadog',
  'skywalking',
  'lightstep',
  'opencensus',
  'stackdriver',
  'prometheus',
  'envoyHttpAls',
  'envoyTcpAls',
  'envoyOtelAls',
] as const

const NO_MONGO = 'statistics of MongoDB traffic'

/** Everything that is understood but not enforced yet. Strike out a line when the data path gets it. */
export const NOT_ENFORCED: readonly NotEnforced[] = [
  ...rows('ServiceEntry', ['spec.ports[].protocol=MONGO', NO_MONGO]),
  ...rows(
    'Service',
    ['spec.ports[].name~^mongo(?:-|$)', NO_MONGO],
    ['spec.ports[].appProtocol~^mongo(?:-|$)', NO_MONGO],
  ),
  ...rows(
    'Pod',
    ['spec.containers[].readinessProbe', 'readiness probes (a pod is ready unless its status says otherwise)'],
    ...annotations('metadata'),
  ),
  ...(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'] as const).flatMap((kind) =>
    rows(
      kind,
      ['spec.template.spec.containers[].readinessProbe', 'readiness probes (every pod is ready)'],
      ...annotations('spec.template.metadata'),
    ),
  ),
  ...rows('WorkloadGroup', ['', 'automatic registration of workloads']),
  ...rows('Telemetry', ['', "Telemetry, and with it Istio's own metrics and metadata exchange"]),
  ...rows(
    'MeshConfig',
    ['spec.enableEnvoyAccessLogService', 'the access log service'],
    ...PROVIDERS.map((provider): [string, string] => [
      `spec.extensionProviders[].${provider}`,
      'extension providers other than access logs to files',
    ]),
    ['spec.defaultProviders.metrics', "Istio's own metrics"],
    ['spec.defaultProviders.tracing', 'tracing'],
    ...PROXY_SETTINGS.map(([path, words]): [string, string] => [`spec.defaultConfig.${path}`, words]),
    ['spec.configSources', 'other sources of configuration'],
    ['spec.enablePrometheusMerge', "merging of the application's metrics"],
  ),
]

/** A use of something in the table. */
export interface NotEnforcedUse {
  pattern: string
  path: Path
  /** `not enforced yet: …`. */
  message: string
}

interface Row extends NotEnforced {
  steps: string[]
}

type Table = ReadonlyMap<string, readonly Row[]>

function tableOf(all: readonly NotEnforced[]): Table {
  const table = new Map<string, Row[]>()
  for (const row of all) {
    const [kind, path] = row.pattern.split(' ') as [string, string | undefined]
    const steps = path ? stepsOf(path) : []
    table.set(kind, [...(table.get(kind) ?? []), { ...row, steps }])
  }
  return table
}

const MISSING = tableOf(NOT_ENFORCED)
const IDLE = tableOf(WITHOUT_EFFECT)
const NOT_YET = 'not enforced yet'
const NO_EFFECT = 'has no effect on sidecars'

/** Settings of proxies among what has no effect: pods may have those too. */
const DEFAULT_CONFIG = 'MeshConfig spec.defaultConfig.'
const IDLE_SETTINGS = WITHOUT_EFFECT.filter(({ pattern }) => pattern.startsWith(DEFAULT_CONFIG)).map(
  ({ pattern, words }) => [pattern.slice(DEFAULT_CONFIG.length), words] as const,
)

/** The steps of a path: field names, `[]`, `{}`, and what is asked of a value (`=X`, `~X`). */
export function stepsOf(path: string): string[] {
  const steps = path.match(/\[\]|\{\}|[=~].*$|"[^"]*"|[^.[\]{}=~"]+/g) ?? []
  return steps.map((step) => step.replace(/^"(.*)"$/, '$1'))
}

/** What an object uses of the tables, this one and that of what has no effect in Istio: the first place for each pattern. */
export function notEnforced(object: ApiObject): NotEnforcedUse[] {
  return [...usesOf(object, MISSING, NOT_YET), ...usesOf(object, IDLE, NO_EFFECT), ...annotatedSettings(object)]
}

/** What a pod's `proxy.istio.io/config` sets that has no effect yet. */
function annotatedSettings(object: ApiObject): NotEnforcedUse[] {
  const template =
    'spec' in object ? (object.spec as { template?: { metadata?: { annotations?: Texts } } }).template : undefined
  const path = template ? ['spec', 'template', 'metadata'] : ['metadata']
  const text = (template ? template.metadata?.annotations : object.metadata.annotations)?.[PROXY_CONFIG_ANNOTATION]
  if (text === undefined) return []
  const at = [...path, 'annotations', PROXY_CONFIG_ANNOTATION]
  const { settings, error } = proxySettingsOf(text)
  if (error !== undefined) {
    return [
      {
        pattern: `${PROXY_CONFIG_ANNOTATION} ${text}`,
        path: at,
        message: `cannot be read, and has no effect: ${error}`,
      },
    ]
  }
  const uses = (rows: readonly (readonly [setting: string, words: string])[], what: string): NotEnforcedUse[] =>
    rows
      .filter(([setting]) => firstUse(settings, stepsOf(setting), 0, []))
      .map(([setting, words]) => ({
        pattern: `${PROXY_CONFIG_ANNOTATION} ${setting}`,
        path: at,
        message: `${what}: ${words} (${setting.replace(/[=~].*/, '')})`,
      }))
  return [...uses(PROXY_SETTINGS, NOT_YET), ...uses(IDLE_SETTINGS, NO_EFFECT)]
}

type Texts = Readonly<Record<string, string>>

function usesOf(object: ApiObject, table: Table, what: string): NotEnforcedUse[] {
  const uses: NotEnforcedUse[] = []
  for (const { pattern, words, steps } of table.get(object.kind) ?? []) {
    const path = steps.length === 0 ? ['kind'] : firstUse(object, steps, 0, [])
    if (!path) continue
    const field = steps.length === 0 ? '' : ` (${pattern.slice(pattern.indexOf(' ') + 1).replace(/[=~].*/, '')})`
    uses.push({ pattern, path, message: `${what}: ${words}${field}` })
  }
  return uses
}

function firstUse(value: unknown, steps: readonly string[], i: number, path: Path): Path | undefined {
  if (value === undefined || value === false) return undefined
  const step = steps[i]
  if (step === undefined) return path
  if (step.startsWith('=')) return value === step.slice(1) ? path : undefined
  if (step.startsWith('~'))
    return typeof value === 'string' && new RegExp(step.slice(1), 'i').test(value) ? path : undefined
  if (typeof value !== 'object' || value === null) return undefined
  if (step === '[]' || step === '{}') {
    for (const [key, item] of Object.entries(value)) {
      const found = firstUse(item, steps, i + 1, [...path, step === '[]' ? Number(key) : key])
      if (found) return found
    }
    return undefined
  }
  return firstUse((value as Record<string, unknown>)[step], steps, i + 1, [...path, step])
}
