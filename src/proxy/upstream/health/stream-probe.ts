import type { Runtime } from '../../../runtime.ts'
import type { ClientConnection, ClientConnectionHandler, ClientStream, ClientStreamHandler } from '../../http/codec.ts'
import type { HeaderMap, ResponseHead } from '../../http/headers.ts'
import type { ConnectionFactory, ConnectionOpened } from '../pooled-connection.ts'
import type { UpstreamHost } from '../upstream-host.ts'
import type { HealthStats } from './health-stats.ts'
import type { Probe, ProbeReport } from './settings.ts'

/** What a probe over HTTP is made with. */
export interface StreamProbeOptions {
  readonly runtime: Runtime
  readonly host: UpstreamHost
  /** The authority: the host's own name for checks, else the check's, else the cluster's. */
  readonly authority: string
  readonly secure: boolean
  readonly factory: ConnectionFactory
  /** Keep the connection from one check to the next. */
  readonly reuse: boolean
  readonly stats: HealthStats
}

/** A probe whose question is a stream of a connection, which it may keep. Subclasses ask, and judge the answer. */
export abstract class StreamProbe implements Probe, ClientConnectionHandler, ClientStreamHandler, ConnectionOpened {
  protected readonly options: StreamProbeOptions
  protected readonly report: ProbeReport
  protected stream: ClientStream | undefined = undefined
  /** An answer is waited for. */
  protected asking = false
  /** The connection takes no other stream. */
  protected draining = false
  private connection: ClientConnection | undefined = undefined
  private attempt: { cancel(): void } | undefined = undefined

  protected constructor(options: StreamProbeOptions, report: ProbeReport) {
    this.options = options
    this.report = report
  }

  start(): void {
    this.asking = true
    this.begin()
    if (this.connection !== undefined) this.ask(this.connection)
    else {
      this.draining = false
      const attempt = this.options.factory.open(this, this)
      if (this.asking && this.connection === undefined) this.attempt = attempt
    }
  }

  abstract timedOut(): void

  close(): void {
    this.asking = false
    this.giveUpConnecting()
    this.closeConnection()
  }

  onOpen(connection: ClientConnection): void {
    this.attempt = undefined
    this.connection = connection
    if (this.asking) this.ask(connection)
    else this.close()
  }

  onError(): void {
    this.attempt = undefined
    this.failNetwork()
  }

  onInterim(): void {}
  onWritable(): void {}
  onIdle(): void {}

  onClose(): void {
    this.connection = undefined
    this.stream = undefined
  }

  /** The answer may still come. */
  onDrain(): void {
    this.draining = true
    if (!this.asking) this.close()
  }

  abstract onHeaders(head: ResponseHead, end: boolean): void
  abstract onData(chunk: Uint8Array, end: boolean): void
  abstract onTrailers(trailers: HeaderMap): void
  abstract onReset(): void

  /** Nothing is known of the answer to come. */
  protected abstract begin(): void
  /** Sends the question. */
  protected abstract ask(connection: ClientConnection): void

  /** The connection must not be used again. */
  protected get last(): boolean {
    return this.draining || !this.options.reuse
  }

  protected giveUpConnecting(): void {
    this.attempt?.cancel()
    this.attempt = undefined
  }

  protected closeConnection(): void {
    const { connection } = this
    this.stream = undefined
    this.connection = undefined
    connection?.close()
  }

  protected failNetwork(): void {
    if (this.wasAsking()) this.report.failed('NETWORK', false, 0)
  }

  /** True once per question: whatever comes after counts no more. */
  protected wasAsking(): boolean {
    const was = this.asking
    this.asking = false
    return was
  }
}
