import type { RBAC, RBACPerRoute } from '#gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import type { FilterSlot } from '../http/filter-slot.ts'
import type { RequestHead } from '../http/headers.ts'
import type { Subject } from '../matching/subject.ts'
import { denialDetails, type RbacMetadata, RbacRules, RbacStats } from '../rbac/rules.ts'
import { mergeDynamicMetadata } from '../stream-info.ts'
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
    const own = this.rules
    const rules = (slot.perRoute()?.config as RbacRules | undefined) ?? own
    if (rules.shadow === undefined && rules.enforced === undefined) return HeadersStatus.CONTINUE
    const { info } = slot
    const subject: Subject = { connection: slot.connection, head, info }
    const metadata: RbacMetadata = {}
    rules.watch(subject, this.stats, metadata, rules.shadowPrefix || own.shadowPrefix)
    const verdict = rules.judge(subject, this.stats, metadata, rules.prefix || own.prefix)
    mergeDynamicMetadata(info, NAMESPACE, metadata)
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
  build(message, { proxy, statPrefix }) {
    const rules = new RbacRules(message as RBAC, { layer: 'http', stats: proxy.stats, notEnforced: proxy.notEnforced })
    const filter = new RbacFilter(rules, new RbacStats(proxy.stats, `${statPrefix}rbac.`, rules))
    return { create: () => filter }
  },
  perRouteType: 'envoy.extensions.filters.http.rbac.v3.RBACPerRoute',
  buildPerRoute: (message) => new RbacRules((message as RBACPerRoute).rbac ?? {}, { layer: 'http' }),
}
