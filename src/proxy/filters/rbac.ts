import type { RBAC, RBACPerRoute } from '#gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { RequestHead } from '../http/headers.ts'
import type { Subject } from '../rbac/matcher.ts'
import { denialDetails, RbacRules, RbacStats } from '../rbac/rules.ts'
import { HeadersStatus, type HttpFilter, type HttpFilterKind } from './filter.ts'

const NAMESPACE = 'envoy.filters.http.rbac'

class RbacFilter implements HttpFilter {
  private readonly rules: RbacRules
  private readonly stats: RbacStats

  constructor(rules: RbacRules, stats: RbacStats) {
    this.rules = rules
    this.stats = stats
  }

  decodeHeaders(head: RequestHead, _end: boolean, slot: FilterSlot): HeadersStatus {
    const rules = (slot.perRoute()?.config as RbacRules | undefined) ?? this.rules
    const subject: Subject = { connection: slot.connection, head, info: slot.info }
    rules.watch(subject, NAMESPACE, this.stats)
    const verdict = rules.judge(subject, NAMESPACE, this.stats)
    if (verdict === undefined || verdict.allowed) return HeadersStatus.CONTINUE
    const details = denialDetails(verdict.policy)
    slot.sendLocalReply({ status: 403, body: 'RBAC: access denied', details, flag: undefined })
    return HeadersStatus.STOP
  }
}

/** `envoy.filters.http.rbac`: refuses requests by role (source/extensions/filters/http/rbac). */
export const rbacFilter: HttpFilterKind = {
  type: 'envoy.extensions.filters.http.rbac.v3.RBAC',
  name: 'envoy.filters.http.rbac',
  build(message, context) {
    const rules = new RbacRules(message as RBAC)
    const filter = new RbacFilter(rules, new RbacStats(context.proxy.stats, `${context.statPrefix}rbac.`, rules))
    return { create: () => filter }
  },
  perRouteType: 'envoy.extensions.filters.http.rbac.v3.RBACPerRoute',
  buildPerRoute: (message) => new RbacRules((message as RBACPerRoute).rbac ?? {}),
}
