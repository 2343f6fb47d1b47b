import type { FilterStateValue } from '#gen/envoy/extensions/filters/common/set_filter_state/v3/value_pb.js'
import type { Runtime } from '../runtime.ts'
import { ConfigError } from './context.ts'
import { type FilterStateFactory, filterStateFactory } from './filter-state-object.ts'
import { textOf } from './filters/ext-authz/utf8.ts'
import { Problems } from './http/config.ts'
import { compileSubstitutionFormat, type Formatter } from './observe/format/compile.ts'
import type { StreamInfo } from './stream-info.ts'
import { readDataSource } from './tls/data-source.ts'

interface Assignment {
  readonly key: string
  readonly create: FilterStateFactory
  readonly value: Formatter
  readonly skipsEmpty: boolean
}

/**
 * Compiled `FilterStateValue`s of an HTTP or a network filter (source/extensions/filters/common/set_filter_state/filter_config.cc).
 * A later object takes the place of an earlier one, `read_only` or not, as measured on a real Envoy 1.40.
 */
export class FilterStateValues {
  private readonly assignments: readonly Assignment[]

  /** `field` is their place in the config. Throws ConfigError. */
  constructor(values: readonly FilterStateValue[], field: string, runtime: Runtime) {
    const problems = new Problems()
    this.assignments = values.flatMap(
      (value, i) => problems.collect(`${field}[${i}]`, () => compile(value, runtime)) ?? [],
    )
    problems.throwIfAny()
  }

  /** Sets the objects on what the formats are filled from. */
  apply(info: StreamInfo): void {
    for (const { key, create, value, skipsEmpty } of this.assignments) {
      const text = value.format(info)
      if (text === '' && skipsEmpty) continue
      const object = create(textOf(text))
      if (object === undefined) continue
      info.filterState ??= new Map()
      info.filterState.set(key, object)
    }
  }
}

function compile(config: FilterStateValue, runtime: Runtime): Assignment {
  const key = config.key.value ?? ''
  // Objects that go along to upstream connections would have to part their pools.
  if (config.sharedWithUpstream !== 0) throw new ConfigError(['shared_with_upstream: not supported'])
  if (config.value.case !== 'formatString') throw new ConfigError(['format_string: is required'])
  const create = factoryOf(config.factoryKey || key, key)
  const errors: string[] = []
  const value = compileSubstitutionFormat(
    config.value.value,
    runtime,
    (source) => readDataSource(source, 'format_string', errors)?.toString('latin1') ?? '',
  )
  if (errors.length > 0) throw new ConfigError(errors)
  return { key, create, value, skipsEmpty: config.skipIfEmpty }
}

function factoryOf(key: string, object: string): FilterStateFactory {
  try {
    return filterStateFactory(key, object)
  } catch (e) {
    throw new ConfigError([(e as Error).message])
  }
}
