import type { Message } from '@bufbuild/protobuf'
import type { ConnectionLimit } from '#gen/envoy/extensions/filters/network/connection_limit/v3/connection_limit_pb.js'
import type { Runtime, Timer } from '../../../runtime.ts'
import { ConfigError, type ListenerContext, type ProxyContext } from '../../context.ts'
import { durationMs } from '../../http/config.ts'
import type { Counter, Gauge } from '../../observe/stats.ts'
import { featureEnabled } from '../../runtime-values.ts'
import type { FilterStatus, ReadFilter, ReadFilterCallbacks, ReadFilterMaker } from '../read-filters.ts'

/**
 * `envoy.filters.network.connection_limit`: connections beyond `max_connections` of the chain are closed, at once or
 * after `delay` (source/extensions/filters/network/connection_limit/connection_limit.cc).
 */
export function connectionLimit(message: Message, context: ProxyContext, _listener: ListenerContext): ReadFilterMaker {
  const config = message as ConnectionLimit
  const errors: string[] = []
  if (config.statPrefix === '')
    errors.push('ConnectionLimitValidationError.StatPrefix: value length must be at least 1 characters')
  if (config.maxConnections === undefined || config.maxConnections < 1n)
    errors.push('ConnectionLimitValidationError.MaxConnections: value must be greater than or equal to 1')
  if (errors.length > 0) throw new ConfigError(errors)
  const prefix = `connection_limit.${config.statPrefix}.`
  const enabled = featureEnabled(config.runtimeEnabled, context.runtimeValues)
  const shared: Shared = {
    runtime: context.runtime,
    max: Number(config.maxConnections),
    delay: durationMs(config.delay) ?? 0,
    active: context.stats.gauge(`${prefix}active_connections`),
    limited: context.stats.counter(`${prefix}limited_connections`),
    connections: 0,
  }
  return (callbacks) => (enabled ? new ConnectionLimiter(shared, callbacks) : PASS)
}

/** What the connections of one chain share. */
interface Shared {
  readonly runtime: Runtime
  readonly max: number
  /** ms; 0: at once. */
  readonly delay: number
  readonly active: Gauge
  readonly limited: Counter
  connections: number
}

class ConnectionLimiter implements ReadFilter {
  private readonly shared: Shared
  private readonly callbacks: ReadFilterCallbacks
  private rejected = false
  private timer: Timer | undefined

  constructor(shared: Shared, callbacks: ReadFilterCallbacks) {
    this.shared = shared
    this.callbacks = callbacks
  }

  onNewConnection(): FilterStatus {
    const { shared } = this
    shared.active.inc()
    // One that waits for its end counts as well.
    if (shared.connections++ < shared.max) return 'continue'
    this.rejected = true
    shared.limited.inc()
    const close = () => this.callbacks.transport.destroy()
    if (shared.delay > 0) this.timer = shared.runtime.after(shared.delay, close)
    else close()
    return 'stop'
  }

  onData(): FilterStatus {
    return this.rejected ? 'stop' : 'continue'
  }

  onClose(): void {
    this.timer?.cancel()
    this.shared.active.dec()
    this.shared.connections--
  }
}

const PASS: ReadFilter = { onNewConnection: () => 'continue', onData: () => 'continue' }
