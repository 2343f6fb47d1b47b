import { BodyBuffer } from './body-buffer.ts'

/** Bytes in front of each gRPC message: a flag and the length. */
const PREFIX = 5

/** One gRPC message with its prefix, not compressed. */
export function grpcFrame(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX + message.length)
  frame[0] = 0
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, PREFIX)
  return frame
}

/** Why a stream of frames cannot be read on, as a gRPC status (source/common/grpc/codec.cc, async_client_impl.cc). */
export const FrameError = { RESOURCE_EXHAUSTED: 8, INTERNAL: 13 } as const
export type FrameError = (typeof FrameError)[keyof typeof FrameError]

/** Puts the messages of a gRPC stream together again from its pieces. */
export class FrameReader {
  /** The last complete message; undefined: none yet. */
  message: Buffer | undefined = undefined
  private readonly limit: number
  private readonly held = new BodyBuffer()
  /** Bytes that have to be there before it is worth looking again. */
  private need = PREFIX

  /** `limit`: of one message, bytes; 0 is none. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Takes the next piece; the chunk is not kept. */
  push(chunk: Uint8Array): FrameError | undefined {
    const { held } = this
    held.append(chunk)
    while (held.length >= this.need) {
      const bytes = held.bytes()
      const flag = bytes[0]!
      if (flag > 1) return FrameError.INTERNAL // no such flag: what follows cannot be read either
      const length = bytes.readUInt32BE(1)
      if (this.limit > 0 && length > this.limit) return FrameError.RESOURCE_EXHAUSTED
      if (flag !== 0 && length > 0) return FrameError.INTERNAL // compressed, though no compression was offered
      this.need = PREFIX + length
      if (bytes.length < this.need) return undefined
      this.message = bytes.subarray(PREFIX, this.need)
      held.replace(bytes.subarray(this.need))
      this.need = PREFIX
    }
    return undefined
  }
}
