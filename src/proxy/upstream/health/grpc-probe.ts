import type { ClientConnection, ClientConnectionHandler, ClientStream, ClientStreamHandler } from '../../http/codec.ts'
import { type HeaderMap, headerName, RequestHead, type ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import type { ConnectionOpened } from '../pooled-connection.ts'
import type { HttpProbeOptions } from './http-probe.ts'
import { probeStreamInfo } from './probe-info.ts'
import type { GrpcCheck, Probe, ProbeReport } from './settings.ts'

const PATH = '/grpc.health.v1.Health/Check'
const TIMEOUT = headerName('grpc-timeout')
const SERVING = 1
const FRAME_HEADER = 5

/** Asks by a call of grpc.health.v1.Health/Check (source/extensions/health_checkers/grpc/health_checker_impl.cc). */
export class GrpcProbe implements Probe, ClientConnectionHandler, ClientStreamHandler, ConnectionOpened {
  private readonly check: GrpcCheck
  private readonly options: HttpProbeOptions
  private readonly timeout: number
  private readonly report: ProbeReport
  private connection: ClientConnection | undefined
  private attempt: { cancel(): void } | undefined
  private stream: ClientStream | undefined
  private received: Buffer[] = []
  private asking = false
  private draining = false

  /** `timeout`: of the check, ms; the server is told. */
  constructor(check: GrpcCheck, timeout: number, options: HttpProbeOptions, report: ProbeReport) {
    this.check = check
    this.timeout = timeout
    this.options = options
    this.report = report
  }

  start(): void {
    this.asking = true
    this.received = []
    if (this.connection !== undefined) this.send(this.connection)
    else {
      this.draining = false
      const attempt = this.options.factory.open(this, this)
      if (this.asking && this.connection === undefined) this.attempt = attempt
    }
  }

  timedOut(): void {
    this.asking = false
    this.attempt?.cancel()
    this.attempt = undefined
    const { stream } = this
    this.stream = undefined
    if (this.draining || !this.options.reuse || stream === undefined) this.close()
    else stream.reset()
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
    this.finish(false, 'NETWORK')
  }

  private send(connection: ClientConnection): void {
    const { check, options } = this
    const head = RequestHead.create('POST', PATH, options.authority)
    head.scheme = options.secure ? 'https' : 'http'
    head.add(H.te, 'trailers')
    head.add(H.contentType, 'application/grpc')
    head.add(H.userAgent, 'Envoy/HC')
    if (!check.metadata.empty) check.metadata.apply(head, probeStreamInfo(options.runtime, options.host, connection))
    head.set(TIMEOUT, grpcTimeout(this.timeout))
    this.stream = connection.newStream(this)
    this.stream.sendHeaders(head, false)
    this.stream.sendData(frame(request(check.service)), true)
  }

  onInterim(): void {}
  onWritable(): void {}
  onIdle(): void {}

  onHeaders(head: ResponseHead, end: boolean): void {
    if (!this.asking) return
    if (head.status !== 200) this.complete(false, end)
    else if (end) this.complete(this.serving(head), true)
    else if (!/^application\/grpc(?:[+;]|$)/.test(head.get(H.contentType) ?? '')) this.complete(false, false)
  }

  onData(chunk: Uint8Array, end: boolean): void {
    if (!this.asking) return
    // A call ends with trailers, not with data.
    if (end) this.complete(false, true)
    else this.received.push(Buffer.from(chunk))
  }

  onTrailers(trailers: HeaderMap): void {
    if (this.asking) this.complete(this.serving(trailers), true)
  }

  onReset(): void {
    this.stream = undefined
    const last = this.draining || !this.options.reuse
    if (last) {
      const { connection } = this
      this.connection = undefined
      connection?.close()
    }
    this.finish(false, 'NETWORK')
  }

  onClose(): void {
    this.connection = undefined
    this.stream = undefined
  }

  onDrain(): void {
    this.draining = true
    if (!this.asking) this.close()
  }

  private serving(trailers: HeaderMap): boolean {
    return trailers.get(H.grpcStatus) === '0' && status(Buffer.concat(this.received)) === SERVING
  }

  private complete(passed: boolean, ended: boolean): void {
    const { stream } = this
    this.stream = undefined
    this.finish(passed, 'ACTIVE')
    if (this.asking) return
    if (!ended) stream?.reset()
    if (!this.options.reuse || this.draining) this.close()
  }

  private finish(passed: boolean, why: 'ACTIVE' | 'NETWORK'): void {
    if (!this.asking) return
    this.asking = false
    if (passed) this.report.passed(false)
    else this.report.failed(why, false, 0)
  }
}

/** HealthCheckRequest: field 1 is the service. */
function request(service: string): Buffer {
  if (service === '') return Buffer.alloc(0)
  const name = Buffer.from(service)
  return Buffer.concat([Buffer.from([0x0a, ...varint(name.length)]), name])
}

function varint(n: number): number[] {
  const bytes: number[] = []
  let rest = n
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80)
  bytes.push(rest)
  return bytes
}

function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(FRAME_HEADER)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

/** The status (field 1, a varint) of the one HealthCheckResponse; undefined when the frame is no such thing. */
function status(frames: Buffer): number | undefined {
  if (frames.length <= FRAME_HEADER || frames[0] !== 0) return undefined
  const message = frames.subarray(FRAME_HEADER)
  if (message.length !== frames.readUInt32BE(1)) return undefined
  return message[0] === 0x08 ? message[1] : undefined
}

/** grpc-timeout: at most eight digits and a unit (source/common/grpc/common.cc toGrpcTimeout). */
function grpcTimeout(ms: number): string {
  let value = Math.floor(ms)
  for (const [unit, next] of [
    ['m', 1000],
    ['S', 60],
    ['M', 60],
  ] as const) {
    if (value <= 99_999_999) return `${value}${unit}`
    value = Math.floor(value / next)
  }
  return `${Math.min(value, 99_999_999)}H`
}
