import { readFileSync } from 'node:fs'

/** Where a Redis is, and how to be let in. */
export interface RedisPlace {
  readonly at: { readonly host: string; readonly port: number } | { readonly path: string }
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  /** Undefined: plaintext. */
  readonly tls: RedisTls | undefined
  /** For messages: without the password. */
  readonly shown: string
}

/** What a TLS connection to a Redis shows and trusts; PEM. */
export interface RedisTls {
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
  /** The certificate's name is not looked at. */
  readonly anyName: boolean
}

/** What the reference's environment says of a Redis besides its address. */
export interface RedisExtras {
  /** `unix` or `tcp`; '' where nothing is said. */
  readonly socketType: string
  /** `password` or `user:password`. */
  readonly auth: string
  readonly tls: boolean
  /** Files. */
  readonly tlsCa: string
  readonly tlsCert: string
  readonly tlsKey: string
  readonly tlsAnyName: boolean
}

/**
 * Reads an address: `redis://[user:password@]host[:port][/db]`, `rediss://…` (TLS), `unix:///path`, a bare path, or
 * `host:port`. Throws an Error for anything else, several addresses among them.
 */
export function redisPlace(text: string, extras: RedisExtras): RedisPlace {
  if (text.includes(','))
    throw new Error(`${JSON.stringify(text)}: one Redis only; clusters and sentinels are not supported`)
  const unix = extras.socketType === 'unix' || /^(?:unix:|\/)/.test(text)
  const url = unix ? undefined : parse(text.includes('://') ? text : `redis://${text}`)
  const auth = /^([^:]*):(.*)$/s.exec(extras.auth)
  const secure = extras.tls || url?.protocol === 'rediss:'
  const login = {
    username: (url && decodeURIComponent(url.username)) || auth?.[1] || undefined,
    password: (url && decodeURIComponent(url.password)) || (auth ? auth[2] : extras.auth) || undefined,
    tls: secure ? tlsOf(extras) : undefined,
  }
  if (!url) {
    const path = text.replace(/^unix:(?:\/\/)?/, '')
    return { at: { path }, ...login, database: 0, shown: path }
  }
  const database = url.pathname.length > 1 ? Number(url.pathname.slice(1)) : 0
  if (!Number.isInteger(database) || database < 0)
    throw new Error(`${JSON.stringify(masked(text))}: no number of a database`)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return { at: { host, port: url.port === '' ? 6379 : Number(url.port) }, ...login, database, shown: url.host }
}

function parse(text: string): URL {
  let url: URL | undefined
  try {
    url = new URL(text)
  } catch {
    // told below
  }
  if (!url || !/^rediss?:$/.test(url.protocol) || url.hostname === '')
    throw new Error(`${JSON.stringify(masked(text))} is no address of a Redis, as redis://127.0.0.1:6379 is`)
  return url
}

function masked(text: string): string {
  return text.replace(/\/\/.*@/s, '//*****@')
}

function tlsOf({ tlsCa, tlsCert, tlsKey, tlsAnyName }: RedisExtras): RedisTls {
  const read = (file: string) => {
    try {
      return readFileSync(file, 'utf8')
    } catch (error) {
      throw new Error(`${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
    }
  }
  return {
    ...(tlsCa ? { ca: read(tlsCa) } : {}),
    ...(tlsCert ? { cert: read(tlsCert) } : {}),
    ...(tlsKey ? { key: read(tlsKey) } : {}),
    anyName: tlsAnyName,
  }
}
