import type net from 'node:net'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import type { DownstreamConnectionsConfig } from '#gen/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.js'
import { openAny } from './typed-filter.ts'

const GLOBAL_MONITOR = 'envoy.resource_monitors.global_downstream_max_connections'
const GLOBAL_KEY = 'overload.global_downstream_max_connections'
const LISTENER_KEY = /^envoy\.resource_limits\.listener\.(.+)\.connection_limit$/

/** Why a connection is not taken. */
export type Overflow = 'global' | 'listener'

/**
 * How many connections a proxy accepts at a time, in all and per listener: the overload manager's monitor, else
 * runtime keys (source/common/network/tcp_listener_impl.cc rejectCxOverGlobalLimit, listener_impl.cc).
 */
export class ConnectionLimits {
  readonly #max: number
  readonly #perListener: ReadonlyMap<string, number>
  readonly #open = new Map<string, number>()
  #total = 0

  private constructor(max: number, perListener: ReadonlyMap<string, number>) {
    this.#max = max
    this.#perListener = perListener
  }

  /** The limits of a bootstrap; undefined when there are none. */
  static of(bootstrap: Bootstrap): ConnectionLimits | undefined {
    const perListener = new Map<string, number>()
    let max = Number.POSITIVE_INFINITY
    for (const [key, value] of runtimeNumbers(bootstrap)) {
      const listener = LISTENER_KEY.exec(key)?.[1]
      if (listener !== undefined) perListener.set(listener, value)
      else if (key === GLOBAL_KEY) max = value
    }
    for (const monitor of bootstrap.overloadManager?.resourceMonitors ?? []) {
      if (monitor.name !== GLOBAL_MONITOR || monitor.configType.case !== 'typedConfig') continue
      const { message } = openAny(monitor.name, monitor.configType.value)
      max = Number((message as DownstreamConnectionsConfig).maxActiveDownstreamConnections)
    }
    if (max === Number.POSITIVE_INFINITY && perListener.size === 0) return undefined
    return new ConnectionLimits(max, perListener)
  }

  /** Counts a connection of a listener until it closes; answers which limit forbids it. */
  admit(socket: net.Socket, listener: string): Overflow | undefined {
    if (this.#total >= this.#max) return 'global'
    const open = this.#open.get(listener) ?? 0
    if (open >= (this.#perListener.get(listener) ?? Number.POSITIVE_INFINITY)) return 'listener'
    this.#total++
    this.#open.set(listener, open + 1)
    socket.once('close', () => {
      this.#total--
      this.#open.set(listener, (this.#open.get(listener) ?? 1) - 1)
    })
    return undefined
  }
}

function* runtimeNumbers(bootstrap: Bootstrap): Iterable<[key: string, value: number]> {
  const found = new Map<string, number>()
  const read = (value: unknown, key: string): void => {
    if (typeof value === 'object' && value !== null) {
      for (const [name, inner] of Object.entries(value)) read(inner, key ? `${key}.${name}` : name)
    } else if (value !== '' && Number.isFinite(Number(value)) && typeof value !== 'boolean') {
      found.set(key, Number(value))
    }
  }
  for (const { layerSpecifier } of bootstrap.layeredRuntime?.layers ?? []) {
    if (layerSpecifier.case === 'staticLayer') read(layerSpecifier.value, '')
  }
  yield* found
}
