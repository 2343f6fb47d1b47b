import type { Runtime } from '../../../runtime.ts'
import type { ClientConnection, ClientConnectionHandler, ClientStream, ClientStreamHandler } from '../../http/codec.ts'
import { headerName, RequestHead, type ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { HostHealth } from '../host.ts'
import type { ConnectionFactory, ConnectionOpened } from '../pooled-connection.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import { holds } from './compile.ts'
import type { HealthStats } from './health-stats.ts'
import { probeStreamInfo } from './probe-info.ts'
import type { HttpCheck, Probe, ProbeReport, StatusRange } from './settings.ts'

const DEGRADED = headerName('x-envoy-degraded')
const CHECKED_CLUSTER = headerName('x-envoy-upstream-healthchecked-cluster')

/** What a probe over HTTP is made with. */
export interface HttpProbeOptions {
  readonly runtime: Runtime
  readonly host: UpstreamHost
  /** The authority: the host's own name for checks, else the check's, else the cluster's. */
  readonly authority: string
  readonly secure: boolean
  readonly factory: ConnectionFactory
  readonly reuse: boolean
  readonly stats: HealthStats
}

/** Asks by an HTTP request (source/extensions/health_checkers/http/health_checker_impl.cc). */
export class HttpProbe implements Probe, ClientConnectionHandler, ClientStreamHandler, ConnectionOpened {
  private readonly check: HttpCheck
  private readonly options: HttpProbeOptions
  private readonly report: ProbeReport
  private connection: ClientConnection | undefined
  private attempt: { cancel(): void } | undefined
  private stream: ClientStream | undefined
  private response: ResponseHead | undefined
  private body: Buffer[] = []
  private bodySize = 0
  private asking = false
  private draining = false

  constructor(check: HttpCheck, options: HttpProbeOptions, report: ProbeReport) {
    this.check = check
    this.options = options
    this.report = report
  }

  start(): void {
    this.asking = true
    this.response = undefined
    this.body = []
    this.bodySize = 0
    if (this.connection !== undefined) this.send(this.connection)
    else {
      this.draining = false
      const attempt = this.options.factory.open(this, this)
      if (this.asking && this.connection === undefined) this.attempt = attempt
    }
  }

  timedOut(): void {
    this.close()
  }

  close(): void {
    this.asking = false
    this.attempt?.cancel()
    this.attempt = undefined
    this.stream = undefined
    const { connection } = this
    this.connection = undefined
    connection?.close()
  }

  onOpen(connection: ClientConnection): void {
    this.attempt = undefined
    this.connection = connection
    if (this.asking) this.send(connection)
    else this.close()
  }

  onError(): void {
    this.attempt = undefined
    this.failNetwork()
  }

  private send(connection: ClientConnection): void {
    const { check, options } = this
    const head = RequestHead.create(check.method, check.path, options.authority)
    head.scheme = options.secure ? 'https' : 'http'
    head.add(H.userAgent, 'Envoy/HC')
    if (!check.headers.empty) check.headers.apply(head, probeStreamInfo(options.runtime, options.host, connection))
    if (check.body !== undefined) head.set(H.contentLength, String(check.body.length))
    this.stream = connection.newStream(this)
    this.stream.sendHeaders(head, check.body === undefined)
    if (check.body !== undefined) this.stream.sendData(check.body, true)
  }

  onInterim(): void {}
  onWritable(): void {}
  onIdle(): void {}

  onHeaders(head: ResponseHead, end: boolean): void {
    if (!this.asking) return
    this.response = head.clone()
    if (end) this.complete()
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (!this.asking) return
    const { receive, bufferSize } = this.check
    if (receive.length > 0 && chunk.length > 0) {
      const room = bufferSize === 0 ? chunk.length : Math.min(chunk.length, bufferSize - this.bodySize)
      if (room > 0) {
        this.body.push(Buffer.from(chunk.subarray(0, room)))
        this.bodySize += room
      }
    }
    if (end) this.complete()
  }

  onTrailers(): void {
    if (this.asking) this.complete()
  }

  onReset(): void {
    this.stream = undefined
    if (!this.options.reuse) this.close()
    this.failNetwork()
  }

  onClose(): void {
    this.connection = undefined
    this.stream = undefined
  }

  /** The answer may still come; the connection takes no other. */
  onDrain(): void {
    this.draining = true
    if (!this.asking) this.close()
  }

  private failNetwork(): void {
    if (!this.wasAsking()) return
    this.report.failed('NETWORK', false, 0)
  }

  /** True once per request: whatever comes after counts no more. */
  private wasAsking(): boolean {
    const was = this.asking
    this.asking = false
    return was
  }

  private complete(): void {
    if (!this.wasAsking()) return
    this.stream = undefined
    const head = this.response!
    const verdict = this.verdict(head)
    if (verdict === 'passed' || verdict === 'degraded') this.report.passed(verdict === 'degraded')
    else this.report.failed('ACTIVE', verdict === 'retriable', head.status)
    if (!this.asking && (!this.options.reuse || this.draining)) this.close()
  }

  private verdict(head: ResponseHead): 'passed' | 'degraded' | 'retriable' | 'failed' {
    const { check } = this
    if (check.receive.length > 0 && !holds(Buffer.concat(this.body), check.receive)) {
      this.excludeIfTold(head)
      return 'failed'
    }
    if (!within(check.expected, head.status)) {
      this.excludeIfTold(head)
      return within(check.retriable, head.status) ? 'retriable' : 'failed'
    }
    if (check.serviceName !== undefined) {
      this.options.stats.verifyCluster.inc()
      if (!check.serviceName.matches(head.get(CHECKED_CLUSTER) ?? '')) return 'failed'
    }
    return head.has(DEGRADED) ? 'degraded' : 'passed'
  }

  /** A failed answer may also ask to be left out of the arithmetic of panic. */
  private excludeIfTold(head: ResponseHead): void {
    if (head.has(H.immediateHealthCheckFail)) this.options.host.health |= HostHealth.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
  }
}

function within(ranges: readonly StatusRange[], status: number): boolean {
  return ranges.some(([from, to]) => status >= from && status < to)
}
