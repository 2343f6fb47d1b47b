import type { ClientConnection } from '../../http/codec.ts'
import { headerName, RequestHead, type ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { HostHealth } from '../host.ts'
import { holds } from './compile.ts'
import { probeStreamInfo } from './probe-info.ts'
import type { HttpCheck, ProbeReport, StatusRange } from './settings.ts'
import { StreamProbe, type StreamProbeOptions } from './stream-probe.ts'

const DEGRADED = headerName('x-envoy-degraded')
const CHECKED_CLUSTER = headerName('x-envoy-upstream-healthchecked-cluster')

/** Asks by an HTTP request (source/extensions/health_checkers/http/health_checker_impl.cc). */
export class HttpProbe extends StreamProbe {
  private readonly check: HttpCheck
  private response: ResponseHead | undefined
  private body: Buffer[] = []
  private bodySize = 0

  constructor(check: HttpCheck, options: StreamProbeOptions, report: ProbeReport) {
    super(options, report)
    this.check = check
  }

  protected begin(): void {
    this.response = undefined
    this.body = []
    this.bodySize = 0
  }

  timedOut(): void {
    this.close()
  }

  protected ask(connection: ClientConnection): void {
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
    if (!this.options.reuse) this.closeConnection()
    this.failNetwork()
  }

  private complete(): void {
    if (!this.wasAsking()) return
    this.stream = undefined
    const head = this.response!
    const verdict = this.verdict(head)
    if (verdict === 'passed' || verdict === 'degraded') this.report.passed(verdict === 'degraded')
    else this.report.failed('ACTIVE', verdict === 'retriable', head.status)
    if (!this.asking && this.last) this.close()
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
