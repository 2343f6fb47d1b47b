import type {
  StatefulSession,
  StatefulSessionPerRoute,
} from '#gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { RequestHead, ResponseHead } from '../http/headers.ts'
import { formatAddress } from '../listener/connection.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'
import { compileSessionState, type SessionState } from './stateful-session-state.ts'

interface Session {
  readonly state: SessionState | undefined
  /** Requests whose host is gone fail, instead of going to another one. */
  readonly strict: boolean
}

class StatefulSessionFilter implements HttpFilter {
  private readonly session: Session
  private state: SessionState | undefined
  private address: string | undefined

  constructor(session: Session) {
    this.session = session
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const own = slot.perRoute()?.config as Session | 'disabled' | undefined
    if (own === 'disabled') return HeadersStatus.CONTINUE
    const { state, strict } = own ?? this.session
    if (state === undefined || !state.covers(head)) return HeadersStatus.CONTINUE
    this.state = state
    this.address = state.read(head, slot.runtime.wallNow())
    if (this.address !== undefined) slot.setUpstreamOverride(this.address, strict)
    return HeadersStatus.CONTINUE
  }

  encodeHeaders(head: ResponseHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const host = slot.info.upstreamHost
    if (this.state === undefined || host === undefined) return HeadersStatus.CONTINUE
    const address = host.pipe ?? formatAddress(host.address)
    if (address !== this.address) this.state.write(head, address, slot.runtime.wallNow())
    return HeadersStatus.CONTINUE
  }
}

/**
 * `envoy.filters.http.stateful_session`: a client's requests go to the host that answered it first
 * (source/extensions/filters/http/stateful_session).
 */
export const statefulSessionFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.stateful_session.v3.StatefulSession',
  name: 'envoy.filters.http.stateful_session',
  build(message) {
    const session = compile(message as StatefulSession)
    return { create: () => new StatefulSessionFilter(session) }
  },
  perRouteType: 'envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute',
  buildPerRoute(message) {
    const { override } = message as StatefulSessionPerRoute
    return override.case === 'statefulSession' ? compile(override.value) : 'disabled'
  },
}

function compile(config: StatefulSession): Session {
  return { state: compileSessionState(config), strict: config.strict }
}
