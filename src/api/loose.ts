import type { Path } from './objects.ts'
import { own as ownOf } from './own.ts'
import { pathText } from './problems.ts'

/** A document as it is written, with everything that was moved in it. */
export interface Draft {
  readonly kind: string
  readonly value: Record<string, unknown>
  /** Where the author wrote what stands at a path now; the last entry that fits wins. */
  readonly moved: { to: Path; from: Path }[]
  /** What was assumed, and how to write it. */
  readonly assumptions: { path: Path; message: string; atKey?: boolean }[]
}

type Fields = Record<string, unknown>

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {})
const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

/**
 * Gives documents that the real thing would refuse the one meaning that they can have, with a note for each. `value` of the draft is changed in place.
 */
export function readLoosely(draft: Draft): void {
  if (draft.kind === 'VirtualService') {
    mirrorEntries(draft)
    routeFieldsBesideHttp(draft)
  }
  if (draft.kind === 'EnvoyFilter') typedStructs(draft)
  if (draft.kind === 'Service') quotedTargetPorts(draft)
}

/** What belongs into each entry of `http`, but is found beside it. */
const ROUTE_FIELDS = [
  'timeout',
  'retries',
  'fault',
  'corsPolicy',
  'headers',
  'rewrite',
  'mirror',
  'mirrorPercentage',
  'mirrors',
]

function routeFieldsBesideHttp(draft: Draft): void {
  const spec = fieldsOf(draft.value.spec)
  const http = listOf(spec.http)
  if (http.length === 0 || !http.every(isFields)) return
  for (const field of ROUTE_FIELDS) {
    if (spec[field] === undefined) continue
    const taken = http.filter((rule) => rule[field] === undefined)
    http.forEach((rule, i) => {
      if (rule[field] !== undefined) return
      rule[field] = spec[field]
      draft.moved.push({ to: ['spec', 'http', i, field], from: ['spec', field] })
    })
    delete spec[field]
    const which =
      http.length === 1
        ? 'spec.http[0]'
        : taken.length === http.length
          ? 'every entry of spec.http'
          : 'those entries of spec.http without it'
    draft.assumptions.push({
      path: ['spec', field],
      atKey: true,
      message: `spec: "${field}" is no field of a VirtualService: taken as part of ${which}; write it there, beside "route"`,
    })
  }
}

/** A `mirror` as an entry of its own, after the entry that it is meant for. */
function mirrorEntries(draft: Draft): void {
  const spec = fieldsOf(draft.value.spec)
  if (!Array.isArray(spec.http)) return
  const kept: { rule: unknown; index: number }[] = []
  for (const [index, rule] of spec.http.entries()) {
    const before = kept.at(-1)
    const lone =
      isFields(rule) && Object.keys(rule).length > 0 && Object.keys(rule).every((key) => MIRROR_FIELDS.includes(key))
    if (
      !lone ||
      !before ||
      !isFields(before.rule) ||
      before.rule.route === undefined ||
      MIRROR_FIELDS.some((key) => fieldsOf(before.rule)[key] !== undefined)
    ) {
      kept.push({ rule, index })
      continue
    }
    for (const field of Object.keys(rule)) {
      before.rule[field] = rule[field]
      draft.moved.push({ to: ['spec', 'http', kept.length - 1, field], from: ['spec', 'http', index, field] })
    }
    const target = `spec.http[${before.index}]`
    draft.assumptions.push({
      path: ['spec', 'http', index],
      message: `spec.http[${index}]: an entry with nothing but a mirror routes nowhere: taken as part of ${target}; write it there, beside "route"`,
    })
  }
  if (kept.length === spec.http.length) return
  kept.forEach(({ index }, i) => {
    // In front, so that the more particular moves above win.
    if (i !== index) draft.moved.unshift({ to: ['spec', 'http', i], from: ['spec', 'http', index] })
  })
  spec.http = kept.map(({ rule }) => rule)
}

const MIRROR_FIELDS = ['mirror', 'mirrors', 'mirrorPercentage', 'mirrorPercent', 'mirror_percent']

/** `targetPort: "8080"`: a string is the name of a container port, and no name is a number. */
function quotedTargetPorts(draft: Draft): void {
  for (const [i, port] of listOf(fieldsOf(draft.value.spec).ports).entries()) {
    if (!isFields(port) || typeof port.targetPort !== 'string' || !/^\d{1,5}$/.test(port.targetPort)) continue
    const path = ['spec', 'ports', i, 'targetPort']
    draft.assumptions.push({
      path,
      message: `${pathText(path)}: "${port.targetPort}" is the name of no container port: taken as the number; write it without quotes`,
    })
    port.targetPort = Number(port.targetPort)
  }
}

const TYPED_STRUCT = /^type\.googleapis\.com\/(?:udpa\.type\.v1|xds\.type\.v3)\.TypedStruct$/
/** The messages of the filters that people put in this way. */
const FILTER_TYPES: Record<string, string> = {
  'envoy.filters.http.local_ratelimit': 'envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit',
  'envoy.filters.http.ratelimit': 'envoy.extensions.filters.http.ratelimit.v3.RateLimit',
  'envoy.filters.http.lua': 'envoy.extensions.filters.http.lua.v3.Lua',
  'envoy.filters.http.fault': 'envoy.extensions.filters.http.fault.v3.HTTPFault',
  'envoy.filters.http.cors': 'envoy.extensions.filters.http.cors.v3.Cors',
  'envoy.filters.http.ext_authz': 'envoy.extensions.filters.http.ext_authz.v3.ExtAuthz',
  'envoy.filters.http.rbac': 'envoy.extensions.filters.http.rbac.v3.RBAC',
  'envoy.filters.http.buffer': 'envoy.extensions.filters.http.buffer.v3.Buffer',
  'envoy.filters.http.compressor': 'envoy.extensions.filters.http.compressor.v3.Compressor',
  'envoy.filters.http.header_to_metadata': 'envoy.extensions.filters.http.header_to_metadata.v3.Config',
  'envoy.filters.network.local_ratelimit': 'envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit',
}

/** A TypedStruct whose fields stand beside `@type` instead of under `value`. */
function typedStructs(draft: Draft): void {
  for (const [i, patch] of listOf(fieldsOf(draft.value.spec).configPatches).entries()) {
    const value = fieldsOf(fieldsOf(patch).patch).value
    walk(value, ['spec', 'configPatches', i, 'patch', 'value'], '', draft)
  }
}

function walk(value: unknown, path: Path, name: string, draft: Draft): void {
  if (Array.isArray(value)) {
    value.forEach((item, i) => {
      walk(item, [...path, i], name, draft)
    })
    return
  }
  if (!isFields(value)) return
  const own = typeof value.name === 'string' ? value.name : name
  for (const [key, part] of Object.entries(value)) walk(part, [...path, key], own, draft)
  if (typeof value['@type'] !== 'string' || !TYPED_STRUCT.test(value['@type'])) return
  if (value.type_url !== undefined || value.typeUrl !== undefined || value.value !== undefined) return
  const type = ownOf(FILTER_TYPES, own)
  const fields = Object.keys(value).filter((key) => key !== '@type')
  if (type === undefined || fields.length === 0) return
  const inside: Fields = {}
  for (const field of fields) {
    inside[field] = value[field]
    delete value[field]
    draft.moved.push({ to: [...path, 'value', field], from: [...path, field] })
  }
  const url = `type.googleapis.com/${type}`
  value.type_url = url
  value.value = inside
  const on = type.includes('.http.local_ratelimit.') ? switchOn(inside) : ''
  draft.assumptions.push({
    path: [...path, '@type'],
    message: `${pathText(path)}: the fields of a TypedStruct belong under "value", beside "type_url": taken as ${type}${on}; write "@type": "${url}"${on && ', with filter_enabled and filter_enforced'}`,
  })
}

/** The rate limit of someone who wrote one is meant to limit: on for all requests, as in Istio's documentation. */
function switchOn(config: Fields): string {
  const added = ['filter_enabled', 'filter_enforced'].filter(
    (field) => config[field] === undefined && config[camel(field)] === undefined,
  )
  for (const field of added) {
    config[field] = {
      runtime_key: field === 'filter_enabled' ? 'local_rate_limit_enabled' : 'local_rate_limit_enforced',
      default_value: { numerator: 100, denominator: 'HUNDRED' },
    }
  }
  return added.length === 0 ? '' : `, and switched on (${added.join(' and ')} at 100 %)`
}

const camel = (name: string): string => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** Where the author wrote what stands at `path` now. */
export function writtenPath(moved: Draft['moved'], path: Path): Path {
  for (let i = moved.length - 1; i >= 0; i--) {
    const { to, from } = moved[i] as Draft['moved'][number]
    if (to.length <= path.length && to.every((part, j) => part === path[j])) return [...from, ...path.slice(to.length)]
  }
  return path
}
