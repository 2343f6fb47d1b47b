import type { ProxyProtocolConfig } from '#gen/envoy/config/core/v3/proxy_protocol_pb.js'
import { ConfigError } from '../context.ts'
import { Problems } from '../http/config.ts'
import type { Address, ConnectionInfo, TlsInfo } from '../listener/connection.ts'
import { fittingTlvs, type ProxyTlv, writeProxyHeader } from '../net/proxy-header.ts'
import type { ClientTlsOptions } from '../net/transport.ts'
import type { ClusterStats } from './cluster-stats.ts'
import type { UpstreamSocket } from './transport-socket.ts'

/** What a PROXY header towards a host says beside the addresses. */
export interface ProxyProtocolSettings {
  readonly version: 1 | 2
  /** Which values of the downstream's header go on: all, or those types. */
  readonly passThrough: 'all' | ReadonlySet<number>
  readonly added: readonly ProxyTlv[]
}

const KNOWN = new Set(['version', 'passThroughTlvs', 'addedTlvs'])
const INCLUDE_ALL = 0

/** Compiles a ProxyProtocolConfig. Throws ConfigError. */
export function compileProxyProtocol(config: ProxyProtocolConfig | undefined, path: string): ProxyProtocolSettings {
  const problems = new Problems()
  if (config) problems.refuseUnknown(config, KNOWN, path)
  const added = (config?.addedTlvs ?? []).map(({ type, value, formatString }, i): ProxyTlv => {
    const at = `${path}.added_tlvs[${i}]`
    if (formatString !== undefined) problems.add(`${at}.format_string`, 'not supported')
    return { type, value }
  })
  if (problems.errors.length > 0) throw new ConfigError(problems.errors)
  const pass = config?.passThroughTlvs
  const some = new Set(pass?.tlvType ?? [])
  return {
    version: config?.version === 1 ? 2 : 1,
    passThrough: pass?.matchType === INCLUDE_ALL ? 'all' : some,
    added,
  }
}

/** A socket inside another one: TLS and its secrets are the inner one's. */
abstract class Wrapper<T extends UpstreamSocket> implements UpstreamSocket {
  protected readonly inner: T

  constructor(inner: T) {
    this.inner = inner
  }

  get secure(): boolean {
    return this.inner.secure
  }
  get ready(): boolean {
    return this.inner.ready
  }
  get settled(): boolean {
    return this.inner.settled
  }
  get fetchTimeout(): number {
    return this.inner.fetchTimeout
  }

  onChange(fn: () => void): void {
    this.inner.onChange(fn)
  }

  tlsOptions(
    sni: string | undefined,
    alpn: readonly string[] | undefined,
    fallback: readonly string[],
  ): ClientTlsOptions | undefined {
    return this.inner.tlsOptions(sni, alpn, fallback)
  }

  chargeHandshake(info: TlsInfo | undefined): void {
    this.inner.chargeHandshake(info)
  }

  chargeFailure(details: string): void {
    this.inner.chargeFailure(details)
  }

  abstract preface(local: Address, remote: Address): Buffer
  abstract close(): void
}

/**
 * Sends a PROXY header first, then whatever the inner socket sends
 * (source/extensions/transport_sockets/proxy_protocol/proxy_protocol.cc).
 */
export class ProxyProtocolSocket extends Wrapper<UpstreamSocket> {
  private readonly settings: ProxyProtocolSettings
  private readonly stats: ClusterStats
  /** Each downstream connection has connections of its own, since their header names it. */
  private readonly bound = new WeakMap<ConnectionInfo, UpstreamSocket>()

  constructor(settings: ProxyProtocolSettings, inner: UpstreamSocket, stats: ClusterStats) {
    super(inner)
    this.settings = settings
    this.stats = stats
    stats.counter('upstream.proxyprotocol.v2_tlvs_exceed_max_length')
  }

  close(): void {
    this.inner.close()
  }

  /** Of connections that nobody downstream asked for, such as health checks. */
  preface(local: Address, remote: Address): Buffer {
    return writeProxyHeader(
      this.settings.version,
      this.settings.version === 1 ? { source: local, destination: remote } : undefined,
    )
  }

  bind(downstream: ConnectionInfo): UpstreamSocket {
    let socket = this.bound.get(downstream)
    if (socket === undefined) {
      socket = new BoundSocket(this, this.header(downstream))
      this.bound.set(downstream, socket)
    }
    return socket
  }

  private header({ remote, local, proxyTlvs = [] }: ConnectionInfo): Buffer {
    const { version, passThrough, added } = this.settings
    const addresses = { source: remote, destination: local }
    if (version === 1) return writeProxyHeader(1, addresses)
    const passed = passThrough === 'all' ? proxyTlvs : proxyTlvs.filter(({ type }) => passThrough.has(type))
    const { tlvs, complete } = fittingTlvs([...added, ...passed])
    if (!complete) this.stats.counter('upstream.proxyprotocol.v2_tlvs_exceed_max_length').inc()
    return writeProxyHeader(2, { ...addresses, tlvs })
  }
}

/** The same for one downstream connection. */
class BoundSocket extends Wrapper<ProxyProtocolSocket> {
  readonly transient = true
  private readonly head: Buffer

  constructor(outer: ProxyProtocolSocket, head: Buffer) {
    super(outer)
    this.head = head
  }

  preface(): Buffer {
    return this.head
  }

  /** The one that it is for is the cluster's. */
  close(): void {}
}
