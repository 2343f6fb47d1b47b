import type net from 'node:net'

/**
 * The stream handle under a socket. Reading into one shared buffer and writing without the stream
 * machinery saves a third of what a request costs; it needs parts of Node that are not documented, so
 * every one of them is looked for, and the public stream API serves where one is missing.
 */
export interface StreamHandle {
  reading: boolean
  onread: (this: StreamHandle) => unknown
  useUserBuffer(buffer: Buffer): void
  readStart(): number
  readStop(): number
  writeBuffer(request: WriteRequest, bytes: Buffer): number
  /** Only on TCP: closes with RST. */
  reset?(done: () => void): number
  close?(told?: () => void): void
  /** Only on TLS: the handle below. */
  _parent?: StreamHandle
}

/** The object a pending write is known by. */
export interface WriteRequest {
  oncomplete: (status: number) => void
}

/** What the runtime's stream layer tells beside a call's return value. */
export interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest
  readonly streamBaseState: Int32Array
  readonly kReadBytesOrError: number
  readonly kLastWriteWasAsync: number
}

function findBinding(): StreamBinding | undefined {
  try {
    const lookup = (process as unknown as { binding?: (name: string) => Partial<StreamBinding> }).binding
    const found = lookup?.call(process, 'stream_wrap')
    if (
      typeof found?.WriteWrap === 'function' &&
      found.streamBaseState instanceof Int32Array &&
      typeof found.kReadBytesOrError === 'number' &&
      typeof found.kLastWriteWasAsync === 'number'
    ) {
      return found as StreamBinding
    }
  } catch {
    // A runtime that refuses (permission model, another engine) is served by the public API.
  }
  return undefined
}

/** Undefined where the runtime does not have it, or `DINGHY_PLAIN_SOCKETS` is set. */
export const streamBinding: StreamBinding | undefined = process.env.DINGHY_PLAIN_SOCKETS ? undefined : findBinding()

/** The handle of a connected socket, if it has all that direct access needs. */
export function directHandle(socket: net.Socket): StreamHandle | undefined {
  if (streamBinding === undefined) return undefined
  const handle = (socket as unknown as { _handle?: Partial<StreamHandle> | null })._handle
  if (
    handle &&
    typeof handle.useUserBuffer === 'function' &&
    typeof handle.readStart === 'function' &&
    typeof handle.readStop === 'function' &&
    typeof handle.writeBuffer === 'function' &&
    typeof handle.onread === 'function'
  ) {
    return handle as StreamHandle
  }
  return undefined
}

/** Every direct read lands here; what is in it counts only until the read callback returns. */
export const sharedReadBuffer: Buffer = Buffer.allocUnsafeSlow(64 * 1024)

const cachedViews: Buffer[] = []

/** The first `n` bytes of the shared buffer. Views of small reads are kept: making one costs more than parsing it. */
export function sharedView(n: number): Buffer {
  if (n >= 4096) return sharedReadBuffer.subarray(0, n)
  let view = cachedViews[n]
  if (view === undefined) {
    while (cachedViews.length <= n) cachedViews.push(sharedReadBuffer.subarray(0, cachedViews.length))
    view = cachedViews[n]!
  }
  return view
}
