import type { ClientConnection } from '../../http/codec.ts'
import { formatGrpcTimeout } from '../../http/grpc-timeout.ts'
import { type HeaderMap, RequestHead, type ResponseHead } from '../../http/headers.ts'
import { H } from '../../http/names.ts'
import { isGrpcContentType } from '../../http/router/route-match.ts'
import { probeStreamInfo } from './probe-info.ts'
import type { GrpcCheck, ProbeReport } from './settings.ts'
import { StreamProbe, type StreamProbeOptions } from './stream-probe.ts'

const PATH = '/grpc.health.v1.Health/Check'
const SERVING = 1
const FRAME_HEADER = 5

/** Asks by a call of grpc.health.v1.Health/Check (source/extensions/health_checkers/grpc/health_checker_impl.cc). */
export class GrpcProbe extends StreamProbe {
  private readonly check: GrpcCheck
  private readonly timeout: number
  private received: Buffer[] = []

  /** `timeout`: of the check, ms; the server is told. */
  constructor(check: GrpcCheck, timeout: number, options: StreamProbeOptions, report: ProbeReport) {
    super(options, report)
    this.check = check
    this.timeout = timeout
  }

  protected begin(): void {
    this.received = []
  }

  timedOut(): void {
    this.asking = false
    this.giveUpConnecting()
    const { stream } = this
    this.stream = undefined
    if (this.last || stream === undefined) this.close()
    else stream.reset()
  }

  protected ask(connection: ClientConnection): void {
    const { check, options } = this
    const head = RequestHead.create('POST', PATH, options.authority)
    head.scheme = options.secure ? 'https' : 'http'
    head.add(H.te, 'trailers')
    head.add(H.contentType, 'application/grpc')
    head.add(H.userAgent, 'Envoy/HC')
    if (!check.metadata.empty) check.metadata.apply(head, probeStreamInfo(options.runtime, options.host, connection))
    head.set(H.grpcTimeout, formatGrpcTimeout(this.timeout))
    this.stream = connection.newStream(this)
    this.stream.sendHeaders(head, false)
    this.stream.sendData(frame(request(check.service)), true)
  }

  onHeaders(head: ResponseHead, end: boolean): void {
    if (!this.asking) return
    if (head.status !== 200) this.complete(false, end)
    else if (end) this.complete(this.serving(head), true)
    else if (!isGrpcContentType(head.get(H.contentType))) this.complete(false, false)
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
    if (this.last) this.closeConnection()
    this.failNetwork()
  }

  private serving(trailers: HeaderMap): boolean {
    return trailers.get(H.grpcStatus) === '0' && status(Buffer.concat(this.received)) === SERVING
  }

  private complete(passed: boolean, ended: boolean): void {
    const { stream } = this
    this.stream = undefined
    if (!this.wasAsking()) return
    if (passed) this.report.passed(false)
    else this.report.failed('ACTIVE', false, 0)
    // The report may have begun the next check.
    if (this.asking) return
    if (!ended) stream?.reset()
    if (this.last) this.close()
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
