import {
  type DocumentOptions,
  isMap,
  isScalar,
  type Node,
  type ParseOptions,
  parseAllDocuments,
  parseDocument,
  Scalar,
  type SchemaOptions,
  type YAMLMap,
} from 'yaml'
import type { Problem } from '../api/problems.ts'
import { Source } from '../api/source.ts'
import { didYouMean } from '../api/suggest.ts'
import { type Field, Nodes, type Place } from './config-nodes.ts'

/** A limit as it is written (YamlRateLimit in src/config/config_impl.go of envoyproxy/ratelimit). */
interface LimitYaml {
  readonly requestsPerUnit: number
  readonly unit: string
  readonly unlimited: boolean
  readonly name: string
  readonly replaces: readonly { readonly name: string; readonly at: number }[]
  /** Where the unit is written, or else the limit. */
  readonly unitAt: number
}

/** A descriptor as it is written. */
export interface DescriptorYaml {
  readonly key: string
  readonly value: string
  readonly rateLimit: LimitYaml | undefined
  readonly descriptors: readonly DescriptorYaml[]
  readonly shadowMode: boolean
  readonly quotaMode: boolean
  readonly detailedMetric: boolean
  readonly valueToMetric: boolean
  readonly shareThreshold: boolean
  readonly metadata: Record<string, unknown> | undefined
  /** Where its key is written, or else where it begins. */
  readonly at: number
  readonly shareThresholdAt: number
}

/** One configuration of one domain. */
export interface DomainYaml {
  readonly domain: string
  readonly descriptors: readonly DescriptorYaml[]
  /** Where its domain is written, or else where it begins. */
  readonly at: number
  readonly place: Place
}

/** What a file holds. */
export interface ReadConfig {
  readonly domains: readonly DomainYaml[]
  readonly problems: readonly Problem[]
}

const ROOT_KEYS = ['domain', 'descriptors']
const DESCRIPTOR_KEYS = [
  'key',
  'value',
  'rate_limit',
  'descriptors',
  'shadow_mode',
  'quota_mode',
  'detailed_metric',
  'value_to_metric',
  'share_threshold',
  'metadata',
]
const LIMIT_KEYS = ['requests_per_unit', 'unit', 'unlimited', 'name', 'replaces']
const REPLACES_KEYS = ['name']
/** The reference takes every key everywhere, and reads it where it belongs. */
const ALL_KEYS = [...new Set([...ROOT_KEYS, ...DESCRIPTOR_KEYS, ...LIMIT_KEYS])]

/** As the reference's library: YAML 1.1 with merge keys, but that times are words (`12:30`, `2001-01-01`). */
const YAML: ParseOptions & DocumentOptions & SchemaOptions = {
  version: '1.1',
  merge: true,
  prettyErrors: false,
  customTags: (tags) =>
    tags.filter((tag) => typeof tag === 'string' || (tag.format !== 'TIME' && !tag.tag.endsWith(':timestamp'))),
}

/**
 * Reads the rate limits in a file: documents as Envoy's reference service reads them, and Kubernetes ConfigMaps that hold
 * such documents in entries named *.yaml or *.yml. Other Kubernetes objects are passed over. All problems are collected,
 * each with its place; a domain with an error is among `domains` all the same.
 */
export function readConfig(file: string, text: string): ReadConfig {
  const source = new Source(file, text)
  const place: Place = (severity, offset, message) => source.problem(severity, source.position(offset), message)
  const domains: DomainYaml[] = []
  const problems: Problem[] = []
  let kubernetes = false
  const documents = parseAllDocuments(text, YAML)
  for (const document of 'empty' in documents ? [] : documents) {
    const error = document.errors[0]
    if (error) {
      problems.push(place('error', Math.min(error.pos[0], text.length), loadingError(error)))
      continue
    }
    const root = document.contents
    if (!isMap(root)) {
      if (root !== null && !(isScalar(root) && root.value === null)) {
        problems.push(place('error', root.range?.[0] ?? 0, 'error loading config file: it is no mapping'))
      }
      continue
    }
    if (root.has('apiVersion') && root.has('kind')) {
      kubernetes = true
      if ((root.get('kind') as unknown) === 'ConfigMap') readConfigMap(root, source, domains, problems)
      continue
    }
    const nodes = new Nodes(document, place)
    domains.push(readDomain(nodes, root, place))
    problems.push(...nodes.problems)
  }
  if (domains.length === 0 && problems.length === 0 && !kubernetes) {
    problems.push(place('error', 0, 'config file cannot have empty domain'))
  }
  return { domains, problems }
}

function loadingError(error: Error): string {
  return `error loading config file: ${error.message.replace(/\s+at line \d+[\s\S]*$/, '')}`
}

/** The rate limits in the entries of a ConfigMap; entries that are something else are passed over. */
function readConfigMap(root: YAMLMap, source: Source, domains: DomainYaml[], problems: Problem[]): void {
  const data = root.get('data')
  if (!isMap(data)) return
  for (const { key, value } of data.items) {
    if (!isScalar(key) || !isScalar(value) || typeof value.value !== 'string') continue
    if (!/\.ya?ml$/.test(String(key.value))) continue
    const document = parseDocument(value.value, YAML)
    const place = placeWithin(source, value)
    const error = document.errors[0]
    if (error) {
      // Whether it was meant to be ours cannot be told: whatever is broken and speaks of descriptors is.
      if (/^descriptors:/m.test(value.value)) problems.push(place('error', error.pos[0], loadingError(error)))
      continue
    }
    const inside = document.contents
    if (!isMap(inside) || !(inside.has('domain') || inside.has('descriptors'))) continue
    const nodes = new Nodes(document, place)
    domains.push(readDomain(nodes, inside, place))
    problems.push(...nodes.problems)
  }
}

/** Places inside of a text that is a string of the file: exact in block scalars, else that of the string. */
function placeWithin(source: Source, holder: Scalar): Place {
  const start = holder.range?.[0] ?? 0
  if (holder.type !== Scalar.BLOCK_LITERAL) {
    return (severity, _, message) => source.problem(severity, source.position(start), message)
  }
  const inner = new Source(source.file, String(holder.value))
  const { line } = source.position(start)
  const indent = /^ */.exec(source.line(line + 1))?.[0].length ?? 0
  return (severity, offset, message) => {
    const at = inner.position(offset)
    return source.problem(severity, { file: source.file, line: at.line + line, col: at.col + indent }, message)
  }
}

function readDomain(nodes: Nodes, root: YAMLMap, place: Place): DomainYaml {
  const fields = known(nodes, root, ROOT_KEYS)
  const domain = fields.get('domain')
  const descriptors = fields.get('descriptors')
  return {
    domain: domain ? nodes.string(domain) : '',
    descriptors: descriptors ? readDescriptors(nodes, descriptors) : [],
    at: domain?.at ?? startOf(root),
    place,
  }
}

function readDescriptors(nodes: Nodes, list: Field): DescriptorYaml[] {
  return nodes.list(list, '[]config.YamlDescriptor').map(({ map, at }) => readDescriptor(nodes, map, at))
}

function readDescriptor(nodes: Nodes, map: YAMLMap, start: number): DescriptorYaml {
  const fields = known(nodes, map, DESCRIPTOR_KEYS)
  const string = (name: string) => given(fields, name, (field) => nodes.string(field)) ?? ''
  const boolean = (name: string) => given(fields, name, (field) => nodes.boolean(field)) ?? false
  return {
    key: string('key'),
    value: string('value'),
    rateLimit: given(fields, 'rate_limit', (field) => readLimit(nodes, field)),
    descriptors: given(fields, 'descriptors', (field) => readDescriptors(nodes, field)) ?? [],
    shadowMode: boolean('shadow_mode'),
    quotaMode: boolean('quota_mode'),
    detailedMetric: boolean('detailed_metric'),
    valueToMetric: boolean('value_to_metric'),
    shareThreshold: boolean('share_threshold'),
    metadata: given(fields, 'metadata', (field) => nodes.json(field)),
    at: fields.get('key')?.at ?? start,
    shareThresholdAt: fields.get('share_threshold')?.keyAt ?? start,
  }
}

function readLimit(nodes: Nodes, field: Field): LimitYaml | undefined {
  const map = nodes.map(field, 'config.YamlRateLimit')
  if (!map) return undefined
  const fields = known(nodes, map, LIMIT_KEYS)
  const replaces = fields.get('replaces')
  const readReplaces = (at: number, item: YAMLMap) => {
    const name = known(nodes, item, REPLACES_KEYS).get('name')
    return { name: name ? nodes.string(name) : '', at: name?.at ?? at }
  }
  return {
    requestsPerUnit: given(fields, 'requests_per_unit', (count) => nodes.uint32(count)) ?? 0,
    unit: given(fields, 'unit', (unit) => nodes.string(unit)) ?? '',
    unlimited: given(fields, 'unlimited', (unlimited) => nodes.boolean(unlimited)) ?? false,
    name: given(fields, 'name', (name) => nodes.string(name)) ?? '',
    replaces: replaces ? nodes.list(replaces, '[]config.yamlReplaces').map(({ map, at }) => readReplaces(at, map)) : [],
    unitAt: fields.get('unit')?.at ?? field.keyAt,
  }
}

function given<T>(fields: ReadonlyMap<string, Field>, name: string, read: (field: Field) => T): T | undefined {
  const field = fields.get(name)
  return field && read(field)
}

/** The fields that belong here. Keys that there are none of are errors; those that belong elsewhere have no effect. */
function known(nodes: Nodes, map: YAMLMap, here: readonly string[]): Map<string, Field> {
  const fields = new Map<string, Field>()
  for (const field of nodes.fields(map)) {
    if (here.includes(field.name)) fields.set(field.name, field)
    else if (ALL_KEYS.includes(field.name)) {
      nodes.warning(field.keyAt, `'${field.name}' has no effect here: it is read in ${homeOf(field.name)}`)
    } else {
      nodes.error(field.keyAt, `config error, unknown key '${field.name}'${didYouMean(field.name, here)}`)
    }
  }
  return fields
}

function homeOf(name: string): string {
  if (LIMIT_KEYS.includes(name)) return 'rate_limit'
  return name === 'domain' ? 'the document itself' : 'a descriptor'
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0
}
