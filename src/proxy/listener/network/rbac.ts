import type { Message } from '@bufbuild/protobuf'
import type { RBAC } from '#gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import type { Runtime, Timer } from '../../../runtime.ts'
import { ConfigError, type ListenerContext, type ProxyContext } from '../../context.ts'
import { durationMs } from '../../http/config.ts'
import type { Subject } from '../../matching/subject.ts'
import { refuseHeaders } from '../../rbac/network-rules.ts'
import { denialDetails, type RbacMetadata, RbacRules, RbacStats } from '../../rbac/rules.ts'
import { mergeDynamicMetadata } from '../../stream-info.ts'
import type { FilterStatus, ReadFilter, ReadFilterCallbacks, ReadFilterMaker } from '../read-filters.ts'

const NAMESPACE = 'envoy.filters.network.rbac'
const CONTINUOUS = 1

/**
 * `envoy.filters.network.rbac`: closes connections that the rules refuse, at their first byte
 * (source/extensions/filters/network/rbac/rbac_filter.cc).
 */
export function networkRbac(message: Message, context: ProxyContext, _listener: ListenerContext): ReadFilterMaker {
  const config = message as RBAC
  if (config.statPrefix === '')
    throw new ConfigError(['RBACValidationError.StatPrefix: value length must be at least 1 characters'])
  refuseHeaders(config.rules)
  refuseHeaders(config.shadowRules)
  const { stats, notEnforced } = context
  const rules = new RbacRules(config, { layer: 'network', stats, notEnforced })
  const prefix = config.statPrefix.endsWith('.') ? config.statPrefix : `${config.statPrefix}.`
  const shared: Shared = {
    runtime: context.runtime,
    rules,
    stats: new RbacStats(stats, `${prefix}rbac.`, rules),
    continuous: config.enforcementType === CONTINUOUS,
    delay: durationMs(config.delayDeny) ?? 0,
  }
  return (callbacks) => new ConnectionRbac(shared, callbacks)
}

/** What the connections of one chain share. */
interface Shared {
  readonly runtime: Runtime
  readonly rules: RbacRules
  readonly stats: RbacStats
  /** Asked again at every read. */
  readonly continuous: boolean
  /** ms between a refusal and the close; 0: none. */
  readonly delay: number
}

class ConnectionRbac implements ReadFilter {
  private readonly shared: Shared
  private readonly callbacks: ReadFilterCallbacks
  private readonly subject: Subject
  private watched = false
  private judged: boolean | undefined
  private timer: Timer | undefined

  constructor(shared: Shared, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
    this.subject = { connection: callbacks.transport.info, head: undefined, info: callbacks.info }
  }

  onNewConnection(): FilterStatus {
    return 'continue'
  }

  onData(): FilterStatus {
    if (this.judged === false) return 'stop'
    const { rules, stats, continuous, delay, runtime } = this.shared
    if (rules.shadow !== undefined && (!this.watched || continuous)) {
      const metadata: RbacMetadata = {}
      rules.watch(this.subject, stats, metadata)
      mergeDynamicMetadata(this.callbacks.info, NAMESPACE, metadata)
    }
    this.watched = true
    if (this.judged && !continuous) return 'continue'
    // Unlike its HTTP sibling, this filter writes no metadata of what it enforces.
    const verdict = rules.judge(this.subject, stats, undefined)
    this.judged = verdict?.allowed ?? true
    if (this.judged) return 'continue'
    this.callbacks.info.connectionTerminationDetails = denialDetails(verdict?.policy)
    const close = (): void => this.callbacks.transport.destroy()
    if (delay > 0) this.timer = runtime.after(delay, close)
    else close()
    return 'stop'
  }

  onClose(): void {
    this.timer?.cancel()
  }
}
