import { toJson } from '@bufbuild/protobuf'
import { ValueSchema } from '@bufbuild/protobuf/wkt'
import type {
  JsonToMetadata_KeyValuePair,
  JsonToMetadata_Rule,
} from '#gen/envoy/extensions/filters/http/json_to_metadata/v3/json_to_metadata_pb.js'
import { atod } from '../../atod.ts'
import { ConfigError } from '../../context.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { type JsonNode, JsonNumber } from './body.ts'

/** JsonToMetadata.ValueType. */
const STRING = 1
const NUMBER = 2

/** Strings longer than this, bytes, are left out. */
const MAX_VALUE = 8 * 1024

const NAMESPACE = 'envoy.filters.http.json_to_metadata'

/** Values by namespace and key. */
export type Found = Map<string, Record<string, unknown>>

/** A compiled `KeyValuePair`. */
class Target {
  readonly type: number
  /** What is set whatever is found; undefined: what is found. */
  readonly fixed: { readonly value: unknown } | undefined
  private readonly namespace: string
  private readonly key: string
  private readonly preserves: boolean

  constructor(config: JsonToMetadata_KeyValuePair) {
    this.type = config.type
    this.fixed = config.valueType.case && { value: toJson(ValueSchema, config.valueType.value) }
    this.namespace = config.metadataNamespace || NAMESPACE
    this.key = config.key
    this.preserves = config.preserveExistingMetadataValue
  }

  set(value: unknown, found: Found, info: StreamInfo): void {
    const there = this.preserves ? info.dynamicMetadata?.get(this.namespace) : undefined
    if (there !== undefined && Object.hasOwn(there, this.key)) return
    let values = found.get(this.namespace)
    if (values === undefined) {
      values = {}
      found.set(this.namespace, values)
    }
    values[this.key] = value
  }
}

const targetOf = (config: JsonToMetadata_KeyValuePair | undefined): Target | undefined => config && new Target(config)

/** One compiled rule (source/extensions/filters/http/json_to_metadata/filter.cc Rule). */
export class Rule {
  private readonly parents: readonly string[]
  private readonly key: string
  private readonly present: Target | undefined
  private readonly missing: Target | undefined
  private readonly error: Target | undefined

  /** Throws ConfigError, with Envoy's words. */
  constructor(config: JsonToMetadata_Rule) {
    const { onPresent, onMissing, onError } = config
    const refuse = (why: string): never => {
      throw new ConfigError([`json to metadata filter: ${why}`])
    }
    if (!onPresent && !onMissing) refuse('neither `on_present` nor `on_missing` set')
    if (onMissing && !onMissing.valueType.case) refuse('cannot specify on_missing rule with empty value')
    if (onError && !onError.valueType.case) refuse('cannot specify on_error rule with empty value')
    const keys = config.selectors.map(({ selector }) => selector.value ?? '')
    this.parents = keys.slice(0, -1)
    this.key = keys.at(-1) ?? ''
    this.present = targetOf(onPresent)
    this.missing = targetOf(onMissing)
    this.error = targetOf(onError)
  }

  /** Takes a value out of a document that is an object or a list. */
  apply(document: JsonNode, found: Found, info: StreamInfo): void {
    const parent = this.parentIn(document)
    const { present } = this
    if (parent !== undefined && present === undefined) return
    // What is fixed is set as soon as there is something that could have the key.
    let value = parent && present?.fixed?.value
    if (parent instanceof Map && present !== undefined && present.fixed === undefined)
      value = convert(parent.get(this.key), present.type)
    if (value === undefined) this.onMissing(found, info)
    else if (present?.fixed !== undefined || present?.type !== STRING || value !== '') present?.set(value, found, info)
  }

  /** What should have the last key. */
  private parentIn(document: JsonNode): JsonNode | undefined {
    let node = document
    for (const key of this.parents) {
      const next = node instanceof Map ? (node.get(key) as JsonNode | undefined) : undefined
      if (!(next instanceof Map)) return undefined
      node = next
    }
    return node
  }

  onMissing(found: Found, info: StreamInfo): void {
    this.missing?.set(this.missing.fixed?.value, found, info)
  }

  onError(found: Found, info: StreamInfo): void {
    this.error?.set(this.error.fixed?.value, found, info)
  }
}

/** A scalar as the type that is asked for; undefined: it is no scalar, or cannot be that. */
function convert(node: JsonNode | undefined, type: number): unknown {
  if (typeof node === 'string') {
    if (type === NUMBER) return atod(node)
    return Buffer.byteLength(node) > MAX_VALUE ? undefined : node
  }
  if (typeof node === 'boolean') return type === STRING ? String(Number(node)) : type === NUMBER ? Number(node) : node
  if (node instanceof JsonNumber) return type === STRING ? node.text : node.value
  return undefined
}
