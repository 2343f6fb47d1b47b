import type { RouteAction_HashPolicy } from '#gen/envoy/config/route/v3/route_components_pb.js'
import { ConfigError } from '../../context.ts'
import type { ConnectionInfo } from '../../listener/connection.ts'
import { formatAddress } from '../../listener/connection.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { xxHash64 } from '../../upstream/hash.ts'
import { durationMs } from '../config.ts'
import type { HeaderMap, RequestHead } from '../headers.ts'
import { H } from '../names.ts'
import { HeaderReader } from './header-matcher.ts'
import { queryParameter } from './query-matcher.ts'
import { RegexRewrite } from './regex.ts'

const MASK = (1n << 64n) - 1n

/** Hash and, when a cookie has to be made, the `set-cookie` value for the response. */
export interface HashResult {
  hash: bigint | undefined
  setCookie: string | undefined
}

interface Method {
  readonly terminal: boolean
  evaluate(head: RequestHead, connection: ConnectionInfo, info: StreamInfo, out: HashResult): bigint | undefined
  toString(): string
}

/** The hash policies of a route (source/common/http/hash_policy.cc): combined by rotate and xor. */
export class HashPolicies {
  private readonly methods: readonly Method[]

  constructor(configs: readonly RouteAction_HashPolicy[]) {
    this.methods = configs.map(compile)
  }

  /** Computes the hash; undefined when no policy had something to hash. */
  compute(head: RequestHead, connection: ConnectionInfo, info: StreamInfo): HashResult {
    const out: HashResult = { hash: undefined, setCookie: undefined }
    for (const method of this.methods) {
      const value = method.evaluate(head, connection, info, out)
      if (value !== undefined) {
        const old = out.hash ?? 0n
        out.hash = (((old << 1n) | (old >> 63n)) & MASK) ^ value
      }
      if (method.terminal && out.hash !== undefined) break
    }
    return out
  }

  toString(): string {
    return this.methods.join(', ')
  }
}

function compile(config: RouteAction_HashPolicy): Method {
  const { terminal } = config
  const spec = config.policySpecifier
  switch (spec.case) {
    case 'header': {
      const reader = new HeaderReader(spec.value.headerName)
      const rewrite = spec.value.regexRewrite ? new RegexRewrite(spec.value.regexRewrite) : undefined
      return {
        terminal,
        evaluate: (head) => {
          let values = reader.all(head)
          if (values.length === 0) return undefined
          if (rewrite !== undefined) values = values.map((v) => rewrite.replaceAll(v))
          let hash = 0n
          for (const value of values.length > 1 ? values.sort() : values) hash = xxHash64(value, hash)
          return hash
        },
        toString: () => `header ${reader.name}`,
      }
    }
    case 'cookie': {
      const { name, path, attributes } = spec.value
      const ttl = durationMs(spec.value.ttl)
      let tail = ttl === undefined || ttl === 0 ? '' : `; Max-Age=${Math.floor(ttl / 1000)}`
      if (path !== '') tail += `; Path=${path}`
      for (const a of attributes) tail += a.value === '' ? `; ${a.name}` : `; ${a.name}=${a.value}`
      return {
        terminal,
        evaluate: (head, connection, _info, out) => {
          const given = cookieValue(head, name)
          if (given !== undefined) return xxHash64(given)
          if (ttl === undefined) return undefined
          const made = xxHash64(formatAddress(connection.remote) + formatAddress(connection.local)).toString(16)
          out.setCookie = `${name}="${made}"${tail}; HttpOnly`
          return xxHash64(made)
        },
        toString: () => `cookie ${name}`,
      }
    }
    case 'connectionProperties':
      return {
        terminal,
        evaluate: (_head, connection, info) =>
          spec.value.sourceIp ? xxHash64(info.trustedClientIp || connection.remote.ip) : undefined,
        toString: () => 'source address',
      }
    case 'queryParameter': {
      const { name } = spec.value
      return {
        terminal,
        evaluate: (head) => {
          const value = queryParameter(head.path, name)
          return value === undefined ? undefined : xxHash64(value)
        },
        toString: () => `query parameter ${name}`,
      }
    }
    case 'filterState': {
      const { key } = spec.value
      return {
        terminal,
        evaluate: (_head, _connection, info) => {
          const value = info.filterState?.get(key)
          return typeof value === 'string' ? xxHash64(value) : undefined
        },
        toString: () => `filter state ${key}`,
      }
    }
    default:
      throw new ConfigError(['policy_specifier: is required'])
  }
}

/** The value of a cookie, quotes removed; undefined when there is none (source/common/http/utility.cc parseCookieValue). */
export function cookieValue(head: HeaderMap, name: string): string | undefined {
  for (const line of head.values(H.cookie)) {
    for (const part of line.split(';')) {
      const eq = part.indexOf('=')
      if (eq < 0 || part.slice(0, eq).replace(/^ +/, '') !== name) continue
      const value = part.slice(eq + 1)
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
    }
  }
  return undefined
}
