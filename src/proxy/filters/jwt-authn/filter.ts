import type { JwtAuthentication, PerRouteConfig } from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { type HeaderMap, headerName, type RequestHead } from '../../http/headers.ts'
import { unsendableReply } from '../../http/local-replies.ts'
import { H } from '../../http/names.ts'
import { pathEnd } from '../../http/router/rewrite.ts'
import { DataStatus, HeadersStatus, type HttpFilter, type HttpFilterKind, TrailersStatus } from '../filter.ts'
import { JwtConfig } from './config.ts'
import type { Requirement } from './requirement.ts'
import { denialDetails, STATUS, type Status } from './status.ts'
import { Verification, type VerificationOwner } from './verification.ts'

const CHALLENGE = headerName('www-authenticate')

/** What a route says: no requirement at all, or which one of the map. */
interface PerRoute {
  readonly disabled: boolean
  readonly requirement: string
}

/** Keeps nothing of an exchange but, in its slot, a verification that waits for keys. */
class JwtFilter implements HttpFilter, VerificationOwner {
  private readonly config: JwtConfig

  constructor(config: JwtConfig) {
    this.config = config
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const { config } = this
    const { stats } = config
    for (const name of config.ownHeaders) head.remove(name)
    if (config.bypassesPreflight && isPreflight(head)) {
      stats.corsPreflightBypassed.inc()
      stats.allowed.inc()
      return HeadersStatus.CONTINUE
    }
    const perRoute = slot.perRoute()?.config as PerRoute | undefined
    let requirement: Requirement | undefined
    if (perRoute === undefined) {
      requirement = this.requirementFor(head, slot)
    } else if (!perRoute.disabled) {
      requirement = config.requirements.get(perRoute.requirement)
      if (requirement === undefined) return this.refuseName(perRoute.requirement, slot)
    }
    if (requirement === undefined) {
      stats.allowed.inc()
      return HeadersStatus.CONTINUE
    }
    const path = head.get(H.originalPath) ?? head.path
    const verification = new Verification(config.providers, head, path, slot, this)
    requirement.start(verification)
    const { status } = verification
    if (status === undefined) {
      verification.waiting = true
      slot.memory = verification
      return HeadersStatus.STOP
    }
    return this.conclude(status, verification, slot)
  }

  decodeData(_chunk: Uint8Array, _end: boolean, slot: FilterSlot): DataStatus {
    return slot.memory === undefined ? DataStatus.CONTINUE : DataStatus.STOP_AND_WATERMARK
  }

  decodeTrailers(_trailers: HeaderMap, slot: FilterSlot): TrailersStatus {
    return slot.memory === undefined ? TrailersStatus.CONTINUE : TrailersStatus.STOP
  }

  onDestroy(slot: FilterSlot): void {
    const verification = slot.memory as Verification | undefined
    slot.memory = undefined
    verification?.cancel()
  }

  onVerified(verification: Verification, slot: FilterSlot): void {
    if (slot.memory !== verification) return
    slot.memory = undefined
    if (this.conclude(verification.status!, verification, slot) === HeadersStatus.CONTINUE) slot.continueDecoding()
  }

  /** The requirement of the first rule that matches, else the one that the filter state asks for. */
  private requirementFor(head: RequestHead, slot: FilterSlot): Requirement | undefined {
    const { rules, stateRules } = this.config
    if (rules.length > 0) {
      const path = head.path.slice(0, pathEnd(head.path))
      for (const { match, requirement } of rules) if (match.matches(head, path)) return requirement
    }
    if (stateRules === undefined) return undefined
    const state = slot.info.filterState?.get(stateRules.name)
    return typeof state === 'string' ? stateRules.requirements.get(state) : undefined
  }

  /** Counts and, unless the request may pass, answers it. */
  private conclude(status: Status, verification: Verification, slot: FilterSlot): HeadersStatus {
    if (status !== STATUS.ok) return this.refuse(status, verification, slot)
    this.config.stats.allowed.inc()
    const { unsendable } = verification
    if (unsendable === undefined) return HeadersStatus.CONTINUE
    slot.sendLocalReply(unsendableReply(unsendable))
    return HeadersStatus.STOP
  }

  private refuse(status: Status, verification: Verification, slot: FilterSlot): HeadersStatus {
    const { stats, stripsFailures } = this.config
    stats.denied.inc()
    const code = status === STATUS.audienceNotAllowed ? 403 : 401
    const reply = { status: code, body: stripsFailures ? '' : status.text, details: status.details, flag: undefined }
    const challenge = verification.challenge(status)
    if (stripsFailures) slot.sendLocalReply(reply)
    else slot.sendLocalReply(reply, (response) => response.set(CHALLENGE, challenge))
    return HeadersStatus.STOP
  }

  /** A route names a requirement that there is not. */
  private refuseName(name: string, slot: FilterSlot): HeadersStatus {
    const { stats, stripsFailures, requirements } = this.config
    stats.denied.inc()
    const known = [...requirements.keys()].sort().join(',')
    const problem = `Wrong requirement_name: ${name}. It should be one of [${known}]`
    const body = stripsFailures ? '' : `Failed JWT authentication: ${problem}`
    slot.sendLocalReply({ status: 403, body, details: denialDetails(problem), flag: undefined })
    return HeadersStatus.STOP
  }
}

function isPreflight(head: RequestHead): boolean {
  if (head.method !== 'OPTIONS') return false
  return (head.get(H.origin) ?? '') !== '' && (head.get(H.accessControlRequestMethod) ?? '') !== ''
}

/** `envoy.filters.http.jwt_authn`: lets requests pass by the tokens they carry (source/extensions/filters/http/jwt_authn). */
export const jwtAuthnFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
  name: 'envoy.filters.http.jwt_authn',
  build(message, context) {
    const config = new JwtConfig(message as JwtAuthentication, context)
    const filter = new JwtFilter(config)
    return {
      create: () => filter,
      whenWarm: (ready) => config.providers.start(ready),
      close: () => config.providers.close(),
    }
  },
  perRouteType: 'envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig',
  buildPerRoute(message): PerRoute {
    const spec = (message as PerRouteConfig).requirementSpecifier
    return {
      disabled: spec.case === 'disabled' && spec.value,
      requirement: spec.case === 'requirementName' ? spec.value : '',
    }
  },
}
