import type {
  ScopedRoutes_ScopeKeyBuilder_FragmentBuilder as FragmentProto,
  ScopedRoutes as ScopedRoutesProto,
} from '#gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { ConfigError } from '../../context.ts'
import { headerName, type RequestHead } from '../headers.ts'
import type { Route, RouteInput } from './route.ts'
import type { RouteTable } from './route-table.ts'

/** Takes one part of a scope's key out of a request; undefined: the request has none. */
type Fragment = (head: RequestHead) => string | undefined

function fragmentOf(config: FragmentProto): Fragment {
  if (config.type.case !== 'headerValueExtractor') throw new ConfigError(['scope_key_builder: type is required'])
  const { name, elementSeparator, extractType } = config.type.value
  const header = headerName(name.toLowerCase())
  const elements = (head: RequestHead): readonly string[] => {
    const value = head.get(header)
    if (value === undefined) return []
    return elementSeparator === '' ? [value] : value.split(elementSeparator)
  }
  switch (extractType.case) {
    case 'index': {
      const index = extractType.value
      if (index !== 0 && elementSeparator === '') {
        throw new ConfigError(['Index > 0 for empty string element separator.'])
      }
      return (head) => elements(head)[index]
    }
    case 'element': {
      const { separator, key } = extractType.value
      return (head) => {
        for (const element of elements(head)) {
          const at = element.indexOf(separator)
          if ((at < 0 ? element : element.slice(0, at)) === key)
            return at < 0 ? '' : element.slice(at + separator.length)
        }
        return undefined
      }
    }
    default:
      throw new ConfigError(['HeaderValueExtractor extract_type not set.'])
  }
}

/** Route tables by a key that is made of a request's headers (source/common/router/scoped_config_impl.cc). */
export class ScopedRoutes {
  private readonly fragments: readonly Fragment[]
  private readonly tables = new Map<string, RouteTable>()

  /** Throws ConfigError. */
  constructor(config: ScopedRoutesProto) {
    const fragments = config.scopeKeyBuilder?.fragments ?? []
    if (fragments.length === 0) throw new ConfigError(['scope_key_builder: is required'])
    this.fragments = fragments.map(fragmentOf)
  }

  /** Puts a scope's table in force. */
  set(key: readonly string[], table: RouteTable): void {
    this.tables.set(key.join('\0'), table)
  }

  /** The table of a request's scope; undefined: it has none, and so no route. */
  tableFor(head: RequestHead): RouteTable | undefined {
    const key: string[] = []
    for (const fragment of this.fragments) {
      const part = fragment(head)
      if (part === undefined) return undefined
      key.push(part)
    }
    return this.tables.get(key.join('\0'))
  }

  route(input: RouteInput): Route | undefined {
    return this.tableFor(input.request)?.route(input)
  }
}
