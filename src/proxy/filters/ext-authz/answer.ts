import type { FilterSlot } from '../../http/filter-slot.ts'
import { headerName, type RequestHead } from '../../http/headers.ts'
import { type LocalReply, unsendableReply } from '../../http/local-replies.ts'
import type { Cluster } from '../../upstream/cluster.ts'
import { changeRequest, unsendablePart } from './request-changes.ts'
import { areHeaders, describeAnswer, fitsResponse } from './response-changes.ts'
import type { ExtAuthzSettings } from './settings.ts'
import type { ExtAuthzShared } from './shared.ts'
import { textOf } from './utf8.ts'
import type { Verdict } from './verdict.ts'

const NAMESPACE = 'envoy.filters.http.ext_authz'
const FAILURE_MODE_ALLOWED = headerName('x-envoy-auth-failure-mode-allowed')

/** The answer where an authorizer wants what may not be. */
export const INVALID: LocalReply = { status: 500, body: '', details: 'ext_authz_invalid', flag: 'UAEX' }

/** What becomes of a request: it was answered here, or goes on, maybe with changes for its response. */
export type CheckOutcome = 'answered' | 'passes' | 'changes-response'

/** Does what the authorizer said (source/extensions/filters/http/ext_authz/ext_authz.cc onComplete). `took` in ms. */
export function answerCheck(
  verdict: Verdict,
  shared: ExtAuthzShared,
  slot: FilterSlot,
  cluster: Cluster | undefined,
  took: number,
): CheckOutcome {
  const { settings } = shared
  if (verdict.sawInvalidAction && settings.validates) return refuseVerdict(shared, slot, cluster)
  takeMetadata(verdict, shared, slot, took)
  if (verdict.result === 'ok') return permit(verdict, shared, slot, cluster)
  if (verdict.result === 'denied') return deny(verdict, shared, slot, cluster)
  shared.stats.count('error', cluster)
  if (settings.shadow) {
    shared.stats.shadowError.inc()
    note(slot, 'ERROR', verdict.status ?? settings.statusOnError, verdict)
    return 'passes'
  }
  if (!settings.failureModeAllow) {
    answer(verdict, verdict.status ?? settings.statusOnError, 'ext_authz_error', shared, slot)
    return 'answered'
  }
  shared.stats.count('failure_mode_allowed', cluster)
  if (settings.tellsFailureModeAllowed) slot.request.add(FAILURE_MODE_ALLOWED, 'true')
  return 'passes'
}

function takeMetadata({ metadata, result }: Verdict, shared: ExtAuthzShared, slot: FilterSlot, took: number): void {
  if (metadata === undefined || Object.keys(metadata).length === 0) return
  if (!shared.settings.takesMetadata) {
    shared.stats.ignoredMetadata.inc()
    return
  }
  const values = result === 'ok' ? { ...metadata, ext_authz_duration: Math.floor(took) } : metadata
  slot.setMetadata(NAMESPACE, values)
}

function permit(
  verdict: Verdict,
  shared: ExtAuthzShared,
  slot: FilterSlot,
  cluster: Cluster | undefined,
): CheckOutcome {
  const { settings } = shared
  if (settings.clearsRouteCache && changesRoute(verdict, settings)) slot.clearRouteCache()
  if (!changeRequest(verdict, settings, slot) || (settings.validates && !fitsResponse(verdict)))
    return refuseVerdict(shared, slot, cluster)
  const { config } = slot.exchange.manager
  if (tooMuch(slot.request, config.maxHeadersCount, config.maxRequestHeadersKb)) {
    shared.stats.requestLimits.inc()
    return refuseVerdict(shared, slot, cluster)
  }
  shared.stats.count('ok', cluster)
  if (settings.shadow) note(slot, 'OK', 200, undefined)
  const problem = unsendablePart(verdict, settings, slot.request)
  if (problem !== undefined) {
    slot.sendLocalReply(unsendableReply(problem))
    return 'answered'
  }
  const { responseToAdd, responseToSet, responseToAddIfAbsent, responseToOverwriteIfPresent } = verdict
  const more = [responseToAdd, responseToSet, responseToAddIfAbsent, responseToOverwriteIfPresent]
  return more.some((list) => list.length > 0) ? 'changes-response' : 'passes'
}

/** Whether the route may be another one after the changes. */
function changesRoute(verdict: Verdict, { routeHeaders }: ExtAuthzSettings): boolean {
  if (verdict.queryToSet.length > 0 || verdict.queryToRemove.length > 0) return true
  const names = [
    ...[...verdict.headersToSet, ...verdict.headersToAppend].map(([name]) => name),
    ...verdict.headersToRemove,
  ]
  return routeHeaders.size === 0 ? names.length > 0 : names.some((name) => routeHeaders.has(name.toLowerCase()))
}

/** More than a request may have: headers, pseudo headers among them, or bytes in them. */
function tooMuch(head: RequestHead, count: number, kib: number): boolean {
  const pseudo = 3 + (head.scheme === '' ? 0 : 1) + (head.protocol === '' ? 0 : 1)
  return head.count + pseudo > count || head.byteSize > kib * 1024
}

function deny(verdict: Verdict, shared: ExtAuthzShared, slot: FilterSlot, cluster: Cluster | undefined): CheckOutcome {
  const { settings } = shared
  shared.stats.count('denied', cluster)
  const status = verdict.status ?? 403
  if (settings.chargesCluster) cluster?.stats.chargeResponse(status, true, false)
  if (settings.shadow) {
    shared.stats.shadowDenied.inc()
    note(slot, 'DENIED', status, verdict)
    return 'passes'
  }
  if (settings.validates && !areHeaders(verdict.headersToSet)) return refuseVerdict(shared, slot, cluster)
  answer(verdict, status, 'ext_authz_denied', shared, slot)
  return 'answered'
}

/** Notes what would have become of a request that passes in any case; later filters and logs can read it. */
function note(slot: FilterSlot, checkResult: string, statusCode: number, verdict: Verdict | undefined): void {
  const headers = (verdict?.headersToSet ?? []).map(([key, value]) => ({ key, value: textOf(value) }))
  slot.info.filterState ??= new Map()
  slot.info.filterState.set(`${slot.name}.shadow`, {
    checkResult,
    statusCode,
    ...(headers.length > 0 ? { responseHeaders: headers } : {}),
  })
}

/** The authorizer wants what may not be. */
function refuseVerdict({ stats }: ExtAuthzShared, slot: FilterSlot, cluster: Cluster | undefined): CheckOutcome {
  stats.count('invalid', cluster)
  slot.sendLocalReply(INVALID)
  return 'answered'
}

/** Answers with the authorizer's headers and body. */
function answer(verdict: Verdict, status: number, details: string, shared: ExtAuthzShared, slot: FilterSlot): void {
  const { maxDeniedBody } = shared.settings
  const { body } = verdict
  const reply: LocalReply = {
    status,
    body: maxDeniedBody > 0 && body.length > maxDeniedBody ? body.subarray(0, maxDeniedBody) : body,
    details,
    flag: 'UAEX',
  }
  slot.sendLocalReply(reply, (head) => describeAnswer(verdict, head))
}
