import type { Transport, TransportHandler } from '../../listener/connection.ts'
import { writeProxyHeader } from '../../net/proxy-header.ts'
import type { ConnectAttempt } from '../../net/transport.ts'
import type { DialWatcher } from '../connect.ts'
import { holds } from './compile.ts'
import type { Probe, ProbeReport, TcpCheck } from './settings.ts'

/** Asks by a connection, and maybe by bytes on it (source/extensions/health_checkers/tcp/health_checker_impl.cc). */
export class TcpProbe implements Probe, DialWatcher, TransportHandler {
  private readonly check: TcpCheck
  private readonly dial: (watcher: DialWatcher) => ConnectAttempt
  private readonly reuse: boolean
  private readonly report: ProbeReport
  private attempt: ConnectAttempt | undefined
  private transport: Transport | undefined
  private received: Buffer[] = []
  private connecting = false

  constructor(check: TcpCheck, reuse: boolean, dial: (watcher: DialWatcher) => ConnectAttempt, report: ProbeReport) {
    this.check = check
    this.reuse = reuse
    this.dial = dial
    this.report = report
  }

  start(): void {
    this.received = []
    if (this.transport !== undefined) {
      this.send(this.transport)
      return
    }
    this.connecting = true
    const attempt = this.dial(this)
    if (this.connecting) this.attempt = attempt
  }

  timedOut(): void {
    this.close()
  }

  close(): void {
    this.connecting = false
    this.attempt?.cancel()
    this.attempt = undefined
    const { transport } = this
    this.transport = undefined
    transport?.destroy()
  }

  onConnected(transport: Transport): void {
    this.connecting = false
    this.attempt = undefined
    transport.handler = this
    if (this.check.receive.length === 0) {
      // That it connects is all that was asked.
      transport.destroy()
      this.report.passed(false)
      return
    }
    this.transport = transport
    this.send(transport)
  }

  onFailed(): void {
    this.connecting = false
    this.attempt = undefined
    this.report.failed('NETWORK', false, 0)
  }

  private send(transport: Transport): void {
    const { proxyProtocol, send } = this.check
    if (proxyProtocol !== undefined) {
      const { local, remote } = transport.info
      transport.write(
        writeProxyHeader(proxyProtocol, proxyProtocol === 1 ? { source: local, destination: remote } : undefined),
      )
    }
    if (send !== undefined) transport.write(send)
  }

  onData(chunk: Buffer): void {
    if (this.transport === undefined) return
    this.received.push(Buffer.from(chunk))
    if (!holds(Buffer.concat(this.received), this.check.receive)) return
    this.received = []
    if (!this.reuse) {
      const { transport } = this
      this.transport = undefined
      transport.destroy()
    }
    this.report.passed(false)
  }

  onEnd(): void {
    this.lost()
  }

  onDrain(): void {}

  onClose(): void {
    this.lost()
  }

  /** The peer closed: a failure at any time, even between two checks. */
  private lost(): void {
    const { transport } = this
    if (transport === undefined) return
    this.transport = undefined
    transport.destroy()
    this.report.failed('NETWORK', false, 0)
  }
}
