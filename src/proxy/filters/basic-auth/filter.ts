import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'
import type { BasicAuth, BasicAuthPerRoute } from '#gen/envoy/extensions/filters/http/basic_auth/v3/basic_auth_pb.js'
import { ConfigError } from '../../context.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { type HeaderName, headerName, type RequestHead } from '../../http/headers.ts'
import type { Counter, StatsStore } from '../../observe/stats.ts'
import { readDataSource } from '../../tls/data-source.ts'
import { decodeBase64 } from '../base64.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from '../filter.ts'
import { Htpasswd } from './htpasswd.ts'

const CHALLENGE = headerName('www-authenticate')
const AUTHORIZATION = headerName('authorization')
const SCHEME = 'Basic '

/** Characters of a path that a challenge repeats. */
const REALM_PATH = 256

/** Why a request is refused. */
const REFUSALS = {
  missing: refusal('Missing username and password.', 'no_credential_for_basic_auth'),
  scheme: refusal("Expected 'Basic' authentication scheme.", 'invalid_scheme_for_basic_auth'),
  format: refusal('Invalid basic credential format.', 'invalid_format_for_basic_auth'),
  credential: refusal('Invalid username/password combination.', 'invalid_credential_for_basic_auth'),
}

function refusal(why: string, details: string) {
  return { status: 401, body: `User authentication failed. ${why}`, details, flag: undefined }
}

function users(source: DataSource | undefined, mayBeEmpty: boolean): Htpasswd {
  const errors: string[] = []
  const bytes = readDataSource(source, 'users', errors)
  if (errors.length > 0) throw new ConfigError(errors)
  // An inline string that is empty is no source at all, unless a route gives it (source/common/config/datasource.cc read).
  if (bytes === undefined && !mayBeEmpty) throw new ConfigError(['DataSource cannot be empty'])
  return new Htpasswd(bytes?.toString('latin1') ?? '')
}

/** Keeps nothing of an exchange: one for all of them. */
class BasicAuthFilter implements HttpFilter {
  private readonly users: Htpasswd
  private readonly header: HeaderName
  private readonly forward: HeaderName | undefined
  private readonly allowed: Counter
  private readonly denied: Counter

  constructor(config: BasicAuth, stats: StatsStore, prefix: string) {
    this.users = users(config.users, false)
    this.header = config.authenticationHeader === '' ? AUTHORIZATION : nameOf(config.authenticationHeader)
    this.forward = config.forwardUsernameHeader === '' ? undefined : nameOf(config.forwardUsernameHeader)
    this.allowed = stats.counter(`${prefix}basic_auth.allowed`)
    this.denied = stats.counter(`${prefix}basic_auth.denied`)
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const credential = head.get(this.header)
    if (credential === undefined) return this.refuse('missing', head, slot)
    if (!credential.startsWith(SCHEME)) return this.refuse('scheme', head, slot)
    const text = decodeBase64(credential.slice(SCHEME.length))?.toString('latin1') ?? ''
    const colon = text.indexOf(':')
    if (colon < 0) return this.refuse('format', head, slot)
    const name = text.slice(0, colon)
    const known = (slot.perRoute()?.config as Htpasswd | undefined) ?? this.users
    if (!known.accepts(name, text.slice(colon + 1))) return this.refuse('credential', head, slot)
    if (this.forward !== undefined) head.set(this.forward, name)
    this.allowed.inc()
    return HeadersStatus.CONTINUE
  }

  private refuse(why: keyof typeof REFUSALS, head: RequestHead, slot: FilterSlot): HeadersStatus {
    this.denied.inc()
    const realm = `${head.scheme}://${head.authority}${head.path.slice(0, REALM_PATH)}`
    slot.sendLocalReply(REFUSALS[why], (reply) => reply.set(CHALLENGE, `Basic realm="${realm}"`))
    return HeadersStatus.STOP
  }
}

const nameOf = (name: string): HeaderName => headerName(name.toLowerCase())

/**
 * `envoy.filters.http.basic_auth`: lets in who knows a password of an htpasswd file
 * (source/extensions/filters/http/basic_auth/basic_auth_filter.cc).
 */
export const basicAuthFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.basic_auth.v3.BasicAuth',
  name: 'envoy.filters.http.basic_auth',
  build(message, { proxy, statPrefix }) {
    const filter = new BasicAuthFilter(message as BasicAuth, proxy.stats, statPrefix)
    return { create: () => filter }
  },
  perRouteType: 'envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute',
  buildPerRoute: (message) => users((message as BasicAuthPerRoute).users, true),
}
