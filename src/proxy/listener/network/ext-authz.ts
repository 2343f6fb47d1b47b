import type { Message } from '@bufbuild/protobuf'
import type { ExtAuthz } from '#gen/envoy/extensions/filters/network/ext_authz/v3/ext_authz_pb.js'
import type { ProxyContext } from '../../context.ts'
import { CHECK, verdictOf } from '../../filters/ext-authz/grpc-verdict.ts'
import type { Verdict } from '../../filters/ext-authz/verdict.ts'
import { mergeDynamicMetadata } from '../../stream-info.ts'
import type { FilterStatus, ReadFilter, ReadFilterCallbacks, ReadFilterMaker } from '../read-filters.ts'
import { NetworkExtAuthz } from './ext-authz-config.ts'

const NAMESPACE = 'envoy.filters.network.ext_authz'
/** What is noted of a connection that passes in any case. */
const RESULTS = {
  ok: { checkResult: 'OK' },
  denied: { checkResult: 'DENIED', statusCode: 403 },
  error: { checkResult: 'ERROR' },
} as const

/**
 * `envoy.filters.network.ext_authz`: asks somebody else, at the first byte of a connection, whether it may stay
 * (source/extensions/filters/network/ext_authz/ext_authz.cc). One that may not is closed without a word.
 */
export function networkExtAuthz(config: Message, context: ProxyContext): ReadFilterMaker {
  const shared = new NetworkExtAuthz(config as ExtAuthz, context)
  return (callbacks) => new ConnectionExtAuthz(shared, callbacks)
}

class ConnectionExtAuthz implements ReadFilter {
  private readonly shared: NetworkExtAuthz
  private readonly callbacks: ReadFilterCallbacks
  private state: 'new' | 'asking' | 'passed' | 'refused' = 'new'
  /** The authorizer may answer at once, while it is being asked. */
  private calling = false
  private call: { cancel(): void } | undefined
  private startedAt = 0

  constructor(shared: NetworkExtAuthz, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    return 'continue'
  }

  onData(): FilterStatus {
    const { shared, callbacks } = this
    if (shared.enabledMetadata?.matches(callbacks.info.dynamicMetadata) === false) {
      shared.stats.disabled.inc()
      return 'continue'
    }
    if (this.state === 'new') this.ask()
    return this.state === 'passed' ? 'continue' : 'stop'
  }

  onClose(): void {
    if (this.state !== 'asking') return
    this.state = 'refused'
    this.call?.cancel()
    this.shared.stats.active.dec()
  }

  private ask(): void {
    const { shared, callbacks } = this
    const { transport, info } = callbacks
    this.state = 'asking'
    shared.stats.active.inc()
    shared.stats.total.inc()
    this.startedAt = shared.runtime.now()
    const options = { timeout: shared.timeout, info, downstream: transport.info, metadataMatch: undefined }
    this.calling = true
    const message = shared.request(transport.info, info)
    this.call = shared.client.call(CHECK, message, options, (answer) => this.answered(verdictOf(answer)))
    this.calling = false
  }

  private answered(verdict: Verdict): void {
    const { shared, callbacks } = this
    const { stats } = shared
    stats.active.dec()
    if (verdict.result === 'ok') stats.ok.inc()
    else if (verdict.result === 'error') stats.error.inc()
    else stats.denied.inc()
    this.takeMetadata(verdict)
    if (shared.shadow) this.note(verdict)
    const refused = verdict.result === 'denied' || (verdict.result === 'error' && !shared.failureModeAllow)
    if (refused && !shared.shadow) {
      this.refuse(verdict.result === 'denied' ? 'ext_authz_denied' : 'ext_authz_error')
      return
    }
    this.state = 'passed'
    if (verdict.result === 'error' && !shared.shadow) stats.failureModeAllowed.inc()
    if (!this.calling) callbacks.continueReading()
  }

  private takeMetadata({ metadata, result }: Verdict): void {
    const values: Record<string, unknown> = { ...metadata }
    if (result === 'ok') values.ext_authz_duration = Math.floor(this.shared.runtime.now() - this.startedAt)
    if (Object.keys(values).length > 0) mergeDynamicMetadata(this.callbacks.info, NAMESPACE, values)
  }

  private note({ result }: Verdict): void {
    const { info } = this.callbacks
    info.filterState ??= new Map()
    info.filterState.set(NAMESPACE, RESULTS[result])
  }

  private refuse(details: string): void {
    const { info, transport } = this.callbacks
    this.state = 'refused'
    this.shared.stats.closed.inc()
    info.flags.push('UAEX')
    info.responseCodeDetails = details
    info.bytesReceived = transport.bytesRead
    const facts: { localCloseReason?: string } = transport.info
    facts.localCloseReason = 'ext_authz_close'
    transport.destroy()
  }
}
