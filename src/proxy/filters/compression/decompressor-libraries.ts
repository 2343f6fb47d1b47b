import zlib from 'node:zlib'
import type { Message } from '@bufbuild/protobuf'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { Brotli } from '#gen/envoy/extensions/compression/brotli/decompressor/v3/brotli_pb.js'
import type { Gzip } from '#gen/envoy/extensions/compression/gzip/decompressor/v3/gzip_pb.js'
import type { Zstd } from '#gen/envoy/extensions/compression/zstd/decompressor/v3/zstd_pb.js'
import { ConfigError } from '../../context.ts'
import { EMPTY } from '../../http/body-buffer.ts'
import type { Counter, StatsStore } from '../../observe/stats.ts'
import { crc32 } from './crc32.ts'
import { GzipHeader, GzipTrailer } from './gzip-envelope.ts'
import { CHUNK, compileLibrary } from './libraries.ts'
import type { ZlibStream } from './transcoder.ts'
import { zstdOf } from './zstd.ts'

/** Most bytes out for each byte in that brotli and zstd may give; gzip's is configurable. */
const MAX_RATIO = 100
const DEFAULT_CHUNK = 4096

/** A decompressor library, compiled. */
export interface DecompressorLibrary {
  readonly encoding: 'gzip' | 'br' | 'zstd'
  readonly statsPrefix: 'gzip' | 'brotli' | 'zstd'
  readonly ratio: number
  /** Output leaves Envoy's libraries in pieces of this size, which shows where they give up. */
  readonly chunkSize: number
  /** `prefix` is that of the library's own counters, which are there from its first use on. */
  create(store: StatsStore, prefix: string): Decoder
}

/** One compressed body: its stream, and the accounting around it. */
export interface Decoder {
  readonly stream: ZlibStream
  /** What of a piece goes into the stream; undefined: the body is beyond help, and that has been counted. */
  feed(piece: Uint8Array): Uint8Array | undefined
  /** A piece has been through the stream; returns what of its output counts. */
  settle(bytes: Buffer, taken: number, error: NodeJS.ErrnoException | undefined, left: Buffer | undefined): Buffer
}

/** source/extensions/compression/gzip/decompressor/zlib_decompressor_impl.cc */
class GzipDecoder implements Decoder {
  readonly stream: ZlibStream
  private readonly header = new GzipHeader()
  private readonly trailer = new GzipTrailer()
  private readonly dataError: Counter
  private readonly chunkSize: number
  private readonly ratio: number
  private crc = 0
  private length = 0
  private failed = false

  constructor({ windowBits = 15, ...config }: Gzip, store: StatsStore, prefix: string) {
    this.stream = zlib.createInflateRaw({ windowBits, chunkSize: CHUNK })
    this.chunkSize = config.chunkSize ?? DEFAULT_CHUNK
    this.ratio = config.maxInflateRatio ?? MAX_RATIO
    for (const name of ['errno', 'stream_error', 'mem_error', 'buf_error', 'version_error'])
      store.counter(`${prefix}zlib_${name}`)
    this.dataError = store.counter(`${prefix}zlib_data_error`)
  }

  feed(piece: Uint8Array): Uint8Array | undefined {
    const rest = this.header.read(piece)
    if (this.header.failed) this.failed = true
    if (!this.failed) return rest
    if (piece.length > 0) this.dataError.inc()
    return undefined
  }

  settle(bytes: Buffer, taken: number, error: NodeJS.ErrnoException | undefined, left: Buffer | undefined): Buffer {
    if (this.failed) {
      if (taken > 0) this.dataError.inc()
      return EMPTY
    }
    // Envoy looks at how much there is each time a piece of its output is full.
    const most = (Math.floor((this.ratio * taken) / this.chunkSize) + 1) * this.chunkSize
    if (error !== undefined || bytes.length >= most) {
      this.fail()
      return bytes.subarray(0, most)
    }
    this.crc = crc32(bytes, this.crc)
    this.length += bytes.length
    if (left !== undefined && this.trailer.check(left, this.crc, this.length) === false) this.fail()
    return bytes
  }

  private fail(): void {
    this.failed = true
    this.dataError.inc()
  }
}

/** source/extensions/compression/brotli/decompressor/brotli_decompressor_impl.cc */
class BrotliDecoder implements Decoder {
  readonly stream: ZlibStream
  private readonly error: Counter
  private readonly overflow: Counter
  private readonly redundant: Counter
  private readonly chunkSize: number
  private failed = false
  private rest: Buffer = EMPTY

  constructor(chunkSize: number, largeRing: boolean, store: StatsStore, prefix: string) {
    const { BROTLI_DECODER_PARAM_DISABLE_RING_BUFFER_REALLOCATION: ring } = zlib.constants
    this.stream = zlib.createBrotliDecompress({ chunkSize: CHUNK, params: { [ring]: largeRing } })
    this.chunkSize = chunkSize
    this.error = store.counter(`${prefix}brotli_error`)
    this.overflow = store.counter(`${prefix}brotli_output_overflow`)
    this.redundant = store.counter(`${prefix}brotli_redundant_input`)
  }

  feed(piece: Uint8Array): Uint8Array {
    return piece
  }

  settle(bytes: Buffer, taken: number, error: NodeJS.ErrnoException | undefined, left: Buffer | undefined): Buffer {
    if (this.failed) {
      this.error.inc()
      const { rest } = this
      this.rest = EMPTY
      if (taken > 0 || rest.length === 0) return EMPTY
      this.overflow.inc()
      return rest
    }
    if (left !== undefined && left.length > 0) {
      this.error.inc()
      this.redundant.inc()
    }
    // Envoy looks at how much there is before it fills another piece, and keeps the one that it then filled in vain. A
    // call without input that follows takes two more.
    const most = (Math.floor((MAX_RATIO * taken) / this.chunkSize) + 2) * this.chunkSize
    const over = bytes.length > most - this.chunkSize
    if (error === undefined && !over) return bytes
    this.failed = true
    this.error.inc()
    if (!over) return bytes
    this.overflow.inc()
    this.rest = bytes.subarray(most, most + 2 * this.chunkSize)
    return bytes.subarray(0, most)
  }
}

/** source/extensions/compression/zstd/decompressor/zstd_decompressor_impl.cc */
class ZstdDecoder implements Decoder {
  readonly stream: ZlibStream
  private readonly error: Counter
  private failed = false

  constructor(store: StatsStore, prefix: string) {
    this.stream = zstdOf().createDecompress({ chunkSize: CHUNK })
    this.error = store.counter(`${prefix}zstd_generic_error`)
    for (const name of ['dictionary_error', 'checksum_wrong_error', 'memory_error'])
      store.counter(`${prefix}zstd_${name}`)
  }

  feed(piece: Uint8Array): Uint8Array {
    return piece
  }

  settle(bytes: Buffer, taken: number, error: NodeJS.ErrnoException | undefined, left: Buffer | undefined): Buffer {
    if (!this.failed && error === undefined && !left?.length) return bytes
    if (taken > 0) this.error.inc()
    if (this.failed) return EMPTY
    this.failed = true
    return bytes
  }
}

const LIBRARIES: Readonly<Record<string, (config: Message) => DecompressorLibrary>> = {
  'envoy.extensions.compression.gzip.decompressor.v3.Gzip': (message) => {
    const config = message as Gzip
    return {
      encoding: 'gzip',
      statsPrefix: 'gzip',
      ratio: config.maxInflateRatio ?? MAX_RATIO,
      chunkSize: config.chunkSize ?? DEFAULT_CHUNK,
      create: (store, prefix) => new GzipDecoder(config, store, prefix),
    }
  },
  'envoy.extensions.compression.brotli.decompressor.v3.Brotli': (message) => {
    const { chunkSize = DEFAULT_CHUNK, disableRingBufferReallocation: ring } = message as Brotli
    return {
      encoding: 'br',
      statsPrefix: 'brotli',
      ratio: MAX_RATIO,
      chunkSize,
      create: (store, prefix) => new BrotliDecoder(chunkSize, ring, store, prefix),
    }
  },
  'envoy.extensions.compression.zstd.decompressor.v3.Zstd': (message) => {
    zstdOf()
    const { chunkSize = CHUNK, dictionaries } = message as Zstd
    if (dictionaries.length > 0) throw new ConfigError(['dictionaries: not supported'])
    const create = (store: StatsStore, prefix: string): Decoder => new ZstdDecoder(store, prefix)
    return { encoding: 'zstd', statsPrefix: 'zstd', ratio: MAX_RATIO, chunkSize, create }
  },
}

/** Compiles a `decompressor_library`. Throws ConfigError. */
export function compileDecompressorLibrary(config: TypedExtensionConfig | undefined): DecompressorLibrary {
  return compileLibrary(config, LIBRARIES)
}
