import type { Any } from '@bufbuild/protobuf/wkt'
import type { Service } from '../../registry/model.ts'
import { packed } from '../../xds/messages.ts'
import type { PilotEnv } from '../env.ts'

/** The filter that keeps sessions, and the key of its configs on routes. */
export const SESSION_FILTER = 'envoy.filters.http.stateful_session'

/** Label of a Service: `cookie-name` or `cookie-name:/path`. */
const COOKIE_LABEL = 'istio.io/persistent-session'
/** Label of a Service: the name of a header. */
const HEADER_LABEL = 'istio.io/persistent-session-header'
const PER_ROUTE = 'envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute'
const COOKIE_STATE = 'envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState'
const HEADER_STATE = 'envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState'

/** Whether a service has sessions (SupportsDrainingEndpoints). */
export function keepsSessions(service: Service): boolean {
  return Boolean(service.labels[COOKIE_LABEL] || service.labels[HEADER_LABEL])
}

/** Whether its endpoints that are about to go are told, for sessions to end there: only where a cookie names them. */
export function keepsDraining(service: Service): boolean {
  return Boolean(service.labels[COOKIE_LABEL])
}

/**
 * What the routes to a service say of its sessions; undefined where it has none, or the switch is off
 * (networking/util MaybeBuildStatefulSessionFilterConfig).
 */
export function sessionConfig(service: Service | undefined, env: PilotEnv): Any | undefined {
  if (service === undefined || !env.persistentSessions) return undefined
  const { [COOKIE_LABEL]: cookie, [HEADER_LABEL]: header } = service.labels
  if (cookie) {
    const colon = cookie.indexOf(':')
    const [name, path] = colon < 0 ? [cookie, '/'] : [cookie.slice(0, colon), cookie.slice(colon + 1)]
    return perRoute('envoy.http.stateful_session.cookie', packed(COOKIE_STATE, { cookie: { name, path } }))
  }
  return header ? perRoute('envoy.http.stateful_session.header', packed(HEADER_STATE, { name: header })) : undefined
}

/** Of several destinations the last that is looked at; two with sessions end the search (route.go). */
export function routeSessionConfig(destinations: readonly (Service | undefined)[], env: PilotEnv): Any | undefined {
  let found: Any | undefined
  for (const service of destinations) {
    const own = sessionConfig(service, env)
    if (own !== undefined && found !== undefined) break
    found = own
  }
  return found
}

function perRoute(name: string, typedConfig: Any): Any {
  return packed(PER_ROUTE, {
    override: { case: 'statefulSession', value: { sessionState: { name, typedConfig } } },
  })
}
