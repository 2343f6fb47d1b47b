import zlib from 'node:zlib'
import type { Message } from '@bufbuild/protobuf'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { Brotli } from '#gen/envoy/extensions/compression/brotli/compressor/v3/brotli_pb.js'
import type { Gzip } from '#gen/envoy/extensions/compression/gzip/compressor/v3/gzip_pb.js'
import type { Zstd } from '#gen/envoy/extensions/compression/zstd/compressor/v3/zstd_pb.js'
import { problemText } from '../../../xds/problem.ts'
import { configTypeName, resolveTypedConfig } from '../../../xds/typed-config.ts'
import { ConfigError } from '../../context.ts'
import { zstdOf } from './zstd.ts'

const Z = zlib.constants

/** Least size of an output buffer, in bytes: each that is filled costs a trip to another thread. */
export const CHUNK = 16_384

/** A compressor library, compiled: makes the streams that compress. */
export interface CompressorLibrary {
  /** Its name in `content-encoding`. */
  readonly encoding: 'gzip' | 'br' | 'zstd'
  readonly statsPrefix: 'gzip' | 'brotli' | 'zstd'
  /** What `flush` takes to bring out all that went in; undefined: nothing is flushed before the end. */
  readonly flushKind: number | undefined
  /** `flushing`: a flush follows each write by itself. */
  create(flushing: boolean): CompressorStream
}

/** A compressing stream of node:zlib. */
export type CompressorStream = zlib.Gzip | zlib.BrotliCompress

/** Levels and strategies of the proto, by number: 0 is the library's default, the others are zlib's own. */
const STRATEGIES = [Z.Z_DEFAULT_STRATEGY, Z.Z_FILTERED, Z.Z_HUFFMAN_ONLY, Z.Z_RLE, Z.Z_FIXED]

/** source/extensions/compression/gzip/compressor/config.cc */
function gzip(config: Gzip): CompressorLibrary {
  const options: zlib.ZlibOptions = {
    level: config.compressionLevel === 0 ? Z.Z_DEFAULT_COMPRESSION : config.compressionLevel,
    strategy: STRATEGIES[config.compressionStrategy] ?? Z.Z_DEFAULT_STRATEGY,
    memLevel: config.memoryLevel ?? 5,
    windowBits: config.windowBits ?? 12,
    chunkSize: Math.max(config.chunkSize ?? 0, CHUNK),
  }
  const flushing = { ...options, flush: Z.Z_SYNC_FLUSH }
  return {
    encoding: 'gzip',
    statsPrefix: 'gzip',
    flushKind: Z.Z_SYNC_FLUSH,
    create: (each) => zlib.createGzip(each ? flushing : options),
  }
}

/** source/extensions/compression/brotli/compressor/config.cc */
function brotli(config: Brotli): CompressorLibrary {
  const modes = [Z.BROTLI_MODE_GENERIC, Z.BROTLI_MODE_GENERIC, Z.BROTLI_MODE_TEXT, Z.BROTLI_MODE_FONT]
  const options: zlib.BrotliOptions = {
    chunkSize: Math.max(config.chunkSize ?? 0, CHUNK),
    params: {
      [Z.BROTLI_PARAM_QUALITY]: config.quality ?? 3,
      [Z.BROTLI_PARAM_LGWIN]: config.windowBits ?? 18,
      [Z.BROTLI_PARAM_LGBLOCK]: config.inputBlockBits ?? 24,
      [Z.BROTLI_PARAM_DISABLE_LITERAL_CONTEXT_MODELING]: config.disableLiteralContextModeling,
      [Z.BROTLI_PARAM_MODE]: modes[config.encoderMode] ?? Z.BROTLI_MODE_GENERIC,
    },
  }
  const flushing = { ...options, flush: Z.BROTLI_OPERATION_FLUSH }
  return {
    encoding: 'br',
    statsPrefix: 'brotli',
    flushKind: Z.BROTLI_OPERATION_FLUSH,
    create: (each) => zlib.createBrotliCompress(each ? flushing : options),
  }
}

/** source/extensions/compression/zstd/compressor/config.cc */
function zstd(config: Zstd): CompressorLibrary {
  const { createCompress, constants } = zstdOf()
  if (config.dictionary !== undefined) throw new ConfigError(['dictionary: not supported'])
  const options = {
    chunkSize: Math.max(config.chunkSize ?? 0, CHUNK),
    params: {
      [constants.ZSTD_c_compressionLevel]: config.compressionLevel ?? 3,
      [constants.ZSTD_c_checksumFlag]: config.enableChecksum ? 1 : 0,
      [constants.ZSTD_c_strategy]: config.strategy,
    },
  }
  // Envoy never flushes this one: what comes in waits until a block is full or the body ends.
  return { encoding: 'zstd', statsPrefix: 'zstd', flushKind: undefined, create: () => createCompress(options) }
}

const LIBRARIES: Readonly<Record<string, (config: Message) => CompressorLibrary>> = {
  'envoy.extensions.compression.gzip.compressor.v3.Gzip': (config) => gzip(config as Gzip),
  'envoy.extensions.compression.brotli.compressor.v3.Brotli': (config) => brotli(config as Brotli),
  'envoy.extensions.compression.zstd.compressor.v3.Zstd': (config) => zstd(config as Zstd),
}

/**
 * Compiles the library that an extension config names, one of `libraries` by type. Throws ConfigError; `what` is how the
 * error calls an unknown type.
 */
export function compileLibrary<T>(
  config: TypedExtensionConfig | undefined,
  libraries: Readonly<Record<string, (config: Message) => T>>,
  what = 'type',
): T {
  const any = config?.typedConfig
  const type = any === undefined ? '' : configTypeName(any)
  const make = libraries[type]
  if (any === undefined || make === undefined)
    throw new ConfigError([`Didn't find a registered implementation for ${what}: '${type}'`])
  const { message, problems } = resolveTypedConfig(any)
  if (message === undefined || problems.length > 0) throw new ConfigError(problems.map(problemText))
  return make(message)
}

/** Compiles a `compressor_library`. Throws ConfigError. */
export function compileCompressorLibrary(config: TypedExtensionConfig | undefined, what?: string): CompressorLibrary {
  return compileLibrary(config, LIBRARIES, what)
}
