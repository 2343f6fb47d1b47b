import type { KeyValueMutation } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Runtime } from '../../runtime.ts'
import { ConfigError } from '../context.ts'
import { compileFormat, type Formatter } from '../observe/formatter.ts'
import type { StreamInfo } from '../stream-info.ts'

/** KeyValueAppend.KeyValueAppendAction. */
const ADD_IF_ABSENT = 1
const OVERWRITE = 2
const OVERWRITE_IF_EXISTS = 3

/** Changes one query parameter; `info` is what its format speaks of. */
export type QueryMutation = (query: Map<string, string[]>, info: StreamInfo) => void

/** One entry of `query_parameter_mutations`. Throws ConfigError. */
export function compileQueryMutation(config: KeyValueMutation, runtime: Runtime): QueryMutation {
  const { append, remove } = config
  if (append === undefined) {
    if (remove === '') throw new ConfigError(["One of 'append'/'remove' must be specified."])
    return (query) => {
      query.delete(remove)
    }
  }
  if (remove !== '') throw new ConfigError(["Only one of 'append'/'remove can be specified."])
  const { record } = append
  if (record === undefined) throw new ConfigError(['No record specified for append mutation.'])
  const { kind } = record.value ?? {}
  if (kind?.case !== 'stringValue') throw new ConfigError(['Only string value is allowed for record value.'])
  const formatter = compileFormat(kind.value, runtime, { omitEmpty: true })
  return (query, info) => change(query, record.key, append.action as number, formatter, info)
}

function change(query: Map<string, string[]>, key: string, action: number, formatter: Formatter, info: StreamInfo) {
  const before = query.get(key)
  if (action === ADD_IF_ABSENT && before !== undefined) return
  if (action === OVERWRITE_IF_EXISTS && before === undefined) return
  const value = encode(formatter.format(info))
  const replaces = action === OVERWRITE || action === OVERWRITE_IF_EXISTS
  query.set(key, replaces || before === undefined ? [value] : [...before, value])
}

/** What is not a letter, a digit or one of `-_.*` is escaped (Http::Utility::PercentEncoding::urlEncode). */
const encode = (value: string): string =>
  value.replace(/[^\w.*-]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)

/** A path with its query changed: names and values decoded, and sorted by name (source/common/http/utility.cc QueryParamsMulti). */
export function mutateQuery(path: string, mutations: readonly QueryMutation[], info: StreamInfo): string {
  const query = decodedQuery(path)
  for (const mutation of mutations) mutation(query, info)
  return withQuery(path, query)
}

/** The parameters of a path's query by name, decoded to a character per byte (parseAndDecodeQueryString). */
export const decodedQuery = (path: string): Map<string, string[]> => parseQuery(path, decode)

/** The same as they are written (parseQueryString). */
export const rawQuery = (path: string): Map<string, string[]> => parseQuery(path, (text) => text)

function parseQuery(path: string, decode: (text: string) => string): Map<string, string[]> {
  const question = path.indexOf('?')
  const query = new Map<string, string[]>()
  const parts = question < 0 ? [] : path.slice(question + 1).split('&')
  if (parts.at(-1) === '') parts.pop()
  for (const part of parts) {
    const eq = part.indexOf('=')
    const name = decode(eq < 0 ? part : part.slice(0, eq))
    const value = eq < 0 ? '' : decode(part.slice(eq + 1))
    const known = query.get(name)
    if (known === undefined) query.set(name, [value])
    else known.push(value)
  }
  return query
}

/** A path with that query in place of its own, sorted by name and written as it is (replaceQueryString). */
export function withQuery(path: string, query: ReadonlyMap<string, readonly string[]>): string {
  const question = path.indexOf('?')
  const pairs = [...query.keys()].sort().flatMap((name) => query.get(name)!.map((value) => `${name}=${value}`))
  return (question < 0 ? path : path.slice(0, question)) + (pairs.length === 0 ? '' : `?${pairs.join('&')}`)
}

function decode(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
