import { type Document, isAlias, isMap, isNode, isScalar, isSeq, type Node, Scalar, type YAMLMap } from 'yaml'
import type { Problem, Severity } from '../api/problems.ts'

/** Makes a problem out of an offset into the text that was parsed. */
export type Place = (severity: Severity, offset: number, message: string) => Problem

/** A field of a mapping: the offset of its key and of its value. */
export interface Field {
  readonly name: string
  readonly keyAt: number
  readonly at: number
  readonly node: Node | null
}

/** What a plain scalar means as a boolean in YAML 1.1, which the reference service reads. */
const TRUE = /^(?:y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON)$/
const FALSE = /^(?:n|N|no|No|NO|false|False|FALSE|off|Off|OFF)$/
const NULL = /^(?:~|null|Null|NULL|)$/
const INTEGER = /^[-+]?(?:0|0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*)$/
const FLOAT =
  /^[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$/
const MAX_UINT32 = 0xffff_ffff
/** The most aliases that are followed: each may lead to more of them. */
const MAX_ALIASES = 10_000

/**
 * Reads the nodes of one document into the types that the reference service's structs have, as its YAML library converts
 * them (gopkg.in/yaml.v2 decode.go): any scalar is a string as it is written, a quoted one is nothing else. What does not
 * fit becomes a problem, and is read as if it were not there.
 */
export class Nodes {
  readonly problems: Problem[] = []
  readonly #document: Document
  readonly #place: Place
  #aliases = 0

  constructor(document: Document, place: Place) {
    this.#document = document
    this.#place = place
  }

  error(at: number, message: string): void {
    this.problems.push(this.#place('error', at, message))
  }

  warning(at: number, message: string): void {
    this.problems.push(this.#place('warning', at, message))
  }

  /** The fields of a mapping, those that it merges (`<<`) included. */
  fields(node: YAMLMap): Field[] {
    const found = new Map<string, Field>()
    for (const pair of node.items) {
      const key = pair.key as Node | null
      const keyAt = key?.range?.[0] ?? 0
      const value = this.resolved(pair.value as Node | null)
      if (isMergeKey(key)) {
        for (const from of isSeq(value) ? value.items : [value]) {
          const map = this.resolved(from as Node | null)
          if (isMap(map)) for (const field of this.fields(map)) if (!found.has(field.name)) found.set(field.name, field)
        }
        continue
      }
      const plain = isScalar(key) && isPlain(key) ? source(key) : undefined
      const notText = !isScalar(key) || (plain !== undefined && kindOfPlain(plain) !== 'string')
      if (notText) this.error(keyAt, `config error, key is not of type string: ${plain ?? String(key)}`)
      else {
        const name = String(key.value)
        found.set(name, { name, keyAt, at: (pair.value as Node | null)?.range?.[0] ?? keyAt, node: value })
      }
    }
    return [...found.values()]
  }

  /** What an alias stands for. One that stands within what it stands for is an error, and so are far too many. */
  resolved(node: Node | null): Node | null {
    if (!isAlias(node)) return node
    const target = (node.resolve(this.#document) as Node | undefined) ?? null
    const at = node.range?.[0] ?? 0
    const [from = 0, , to = 0] = target?.range ?? []
    if (target && at >= from && at < to) {
      this.error(at, `error loading config file: anchor '${node.source}' value contains itself`)
      return null
    }
    if (++this.#aliases <= MAX_ALIASES) return target
    if (this.#aliases === MAX_ALIASES + 1) {
      this.error(at, 'error loading config file: document contains excessive aliasing')
    }
    return null
  }

  /** A mapping; undefined for null, and for what is none. */
  map(field: Field, type: string): YAMLMap | undefined {
    if (isMap(field.node)) return field.node
    if (!isNull(field.node)) this.#unfit(field, type)
    return undefined
  }

  /** The mappings in a list; none for null. */
  list(field: Field, type: string): { readonly map: YAMLMap; readonly at: number }[] {
    if (isNull(field.node)) return []
    if (!isSeq(field.node)) {
      this.#unfit(field, type)
      return []
    }
    const maps: { map: YAMLMap; at: number }[] = []
    for (const item of field.node.items) {
      const map = this.resolved(item as Node | null)
      const at = (item as Node | null)?.range?.[0] ?? field.at
      if (isMap(map)) maps.push({ map, at })
      else this.error(at, `config error, yaml file contains list of type other than map: ${textOf(map)}`)
    }
    return maps
  }

  string(field: Field): string {
    const { node } = field
    if (isNull(node)) return ''
    if (!isScalar(node)) {
      this.#unfit(field, 'string')
      return ''
    }
    if (!isPlain(node)) return String(node.value)
    if (kindOfPlain(source(node)) === 'float') this.error(field.at, NOT_CHECKED)
    return source(node)
  }

  boolean(field: Field): boolean {
    const { node } = field
    if (isNull(node)) return false
    const text = isScalar(node) && isPlain(node) ? source(node) : undefined
    if (text !== undefined && TRUE.test(text)) return true
    if (text === undefined || !FALSE.test(text)) this.#unfit(field, 'bool')
    return false
  }

  uint32(field: Field): number {
    const { node } = field
    if (isNull(node)) return 0
    const text = isScalar(node) && isPlain(node) ? source(node) : undefined
    if (text !== undefined && kindOfPlain(text) === 'float') this.error(field.at, NOT_CHECKED)
    else {
      const value = text !== undefined && INTEGER.test(text) ? integer(text) : -1
      if (value >= 0 && value <= MAX_UINT32) return value
      this.#unfit(field, 'uint32')
    }
    return 0
  }

  /** Any JSON that a mapping stands for. */
  json(field: Field): Record<string, unknown> | undefined {
    if (isNull(field.node)) return undefined
    if (isMap(field.node)) {
      try {
        const value = field.node.toJS(this.#document, { maxAliasCount: 100 }) as Record<string, unknown>
        // The outermost keys are words as they are written, `on` and `no` among them.
        for (const { key, value: inside } of field.node.items) {
          if (!isScalar(key) || !isPlain(key) || isMergeKey(key) || String(key.value) === source(key)) continue
          delete value[String(key.value)]
          value[source(key)] = isNode(inside) ? inside.toJS(this.#document, { maxAliasCount: 100 }) : null
        }
        // What stands within itself is found here, too.
        return JSON.parse(JSON.stringify(value)) as Record<string, unknown>
      } catch (error) {
        const [reason] = (error as Error).message.split('\n')
        this.error(field.at, `error loading config file: ${reason}`)
        return undefined
      }
    }
    this.#unfit(field, 'map[string]interface {}')
    return undefined
  }

  #unfit(field: Field, type: string): void {
    this.error(field.at, `error loading config file: cannot unmarshal ${described(field.node)} into ${type}`)
  }
}

/** What the reference says of a number with a fraction, wherever it stands. */
const NOT_CHECKED = 'error checking config'

function isMergeKey(key: Node | null): boolean {
  return isScalar(key) && isPlain(key) && source(key) === '<<'
}

function isPlain(node: Scalar): boolean {
  return node.type === Scalar.PLAIN || node.type === undefined
}

function source(node: Scalar): string {
  return node.source ?? String(node.value ?? '')
}

function isNull(node: Node | null): boolean {
  return node === null || (isScalar(node) && isPlain(node) && NULL.test(source(node)))
}

function kindOfPlain(text: string): 'null' | 'bool' | 'int' | 'float' | 'string' {
  if (NULL.test(text)) return 'null'
  if (TRUE.test(text) || FALSE.test(text)) return 'bool'
  if (INTEGER.test(text)) return 'int'
  return FLOAT.test(text) ? 'float' : 'string'
}

function integer(text: string): number {
  const digits = text.replaceAll('_', '').replace(/^\+/, '')
  const octal = /^(-?)0o?([0-7]+)$/.exec(digits)
  if (octal) return Number.parseInt(`${octal[1]}${octal[2]}`, 8)
  return digits.startsWith('-') ? -Number(digits.slice(1)) : Number(digits)
}

function described(node: Node | null): string {
  if (isMap(node)) return '!!map'
  if (isSeq(node)) return '!!seq'
  if (!isScalar(node)) return 'nothing'
  const text = isPlain(node) ? source(node) : String(node.value)
  const kind = isPlain(node) ? kindOfPlain(text) : 'string'
  return `!!${kind === 'string' ? 'str' : kind} \`${text.length > 10 ? `${text.slice(0, 7)}...` : text}\``
}

function textOf(node: Node | null): string {
  if (isNull(node)) return '<nil>'
  if (isScalar(node)) return isPlain(node) ? source(node) : String(node.value)
  return isSeq(node) ? 'a list' : 'something else'
}
