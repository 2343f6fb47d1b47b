import type { StreamInfo } from '../../stream-info.ts'
import { jsonString, jsonValue, toByteString, truncate } from './bytes.ts'
import type { Operator, OperatorSpec, OperatorTable } from './operator.ts'

/** Filter metadata by namespace. */
type Namespaces = ReadonlyMap<string, Readonly<Record<string, unknown>>> | undefined
type Source = (info: StreamInfo) => Namespaces

/** The value at `namespace` and `path`; undefined when there is none (source/common/config/metadata.cc). */
export function metadataValue(metadata: Namespaces, namespace: string, path: readonly string[]): unknown {
  let value: unknown = metadata?.get(namespace)
  for (const key of path) {
    if (value === null || typeof value !== 'object' || Array.isArray(value) || !Object.hasOwn(value, key)) {
      return undefined
    }
    value = (value as Record<string, unknown>)[key]
  }
  return value
}

function metadataOperator(source: Source, param: string, max: number | undefined): Operator {
  const [namespace = '', ...path] = param.split(':')
  const textOf = (value: unknown): string =>
    truncate(typeof value === 'string' ? toByteString(value) : jsonValue(value), max)
  return {
    text: (info) => {
      const value = metadataValue(source(info), namespace, path)
      return value === undefined || value === null ? undefined : textOf(value)
    },
    json: (info) => {
      const value = metadataValue(source(info), namespace, path)
      return typeof value === 'string' ? jsonString(truncate(toByteString(value), max)) : jsonValue(value)
    },
  }
}

const dynamic: Source = (info) => info.dynamicMetadata
const cluster: Source = (info) => info.clusterMetadata
const upstreamHost: Source = (info) => info.upstreamHost?.metadata

const SOURCES: Readonly<Record<string, Source>> = {
  DYNAMIC: dynamic,
  CLUSTER: cluster,
  ROUTE: (info) => info.routeMetadata,
  UPSTREAM_HOST: upstreamHost,
  LISTENER: (info) => info.listenerMetadata,
  LISTENER_FILTER_CHAIN: (info) => info.filterChainMetadata,
  VIRTUAL_HOST: (info) => info.virtualHostMetadata,
}

function named(source: Source, length: boolean): OperatorSpec {
  return { params: 'required', length, make: (param, max) => metadataOperator(source, param, max) }
}

function filterState(stateOf: (info: StreamInfo) => ReadonlyMap<string, unknown> | undefined): OperatorSpec {
  return {
    params: 'optional',
    length: true,
    make: (param, max) => {
      const [key = '', kind = '', field = ''] = param.split(':')
      if (key === '') throw new Error('Invalid filter state configuration, key cannot be empty.')
      if (!['', 'PLAIN', 'TYPED', 'FIELD'].includes(kind)) {
        throw new Error('Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.')
      }
      if ((kind === 'FIELD') !== (field !== '')) {
        throw new Error('Invalid filter state serialize type, FIELD should be used with the field name.')
      }
      const stateValue = (info: StreamInfo): unknown => {
        const state = stateOf(info)?.get(key)
        if (kind !== 'FIELD') return state
        const holder = state as Record<string, unknown> | null | undefined
        return holder !== null && typeof holder === 'object' && Object.hasOwn(holder, field) ? holder[field] : undefined
      }
      const plain = (value: unknown): string => (typeof value === 'string' ? toByteString(value) : jsonValue(value))
      // Integers of 64 bits are strings in JSON.
      const json = (value: unknown): string => (typeof value === 'bigint' ? `"${value}"` : jsonValue(value))
      const text = (info: StreamInfo): string | undefined => {
        const value = stateValue(info)
        if (value === undefined || value === null) return undefined
        return truncate(kind === '' || kind === 'TYPED' ? json(value) : plain(value), max)
      }
      const typed = kind === '' || kind === 'TYPED'
      return { text, json: typed ? (info) => json(stateValue(info)) : (info) => jsonString(text(info)) }
    },
  }
}

/** Metadata and filter state (source/common/formatter/stream_info_formatter.cc, source/extensions/formatter/metadata). */
export const metadata: OperatorTable = {
  DYNAMIC_METADATA: named(dynamic, true),
  CLUSTER_METADATA: named(cluster, false),
  UPSTREAM_METADATA: named(upstreamHost, false),
  METADATA: {
    params: 'optional',
    length: true,
    make: (param, max) => {
      const [type = '', ...rest] = param.split(':')
      if (!Object.hasOwn(SOURCES, type)) throw new Error(`${type} is not supported type of metadata`)
      return metadataOperator(SOURCES[type]!, rest.join(':'), max)
    },
  },
  FILTER_STATE: filterState((info) => info.filterState),
  UPSTREAM_FILTER_STATE: filterState((info) => info.upstreamFilterState),
}
