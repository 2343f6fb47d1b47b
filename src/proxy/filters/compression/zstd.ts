import zlib from 'node:zlib'
import { ConfigError } from '../../context.ts'

/** What node:zlib has of zstd, from Node 22.15 on. */
export interface Zstandard {
  createCompress(options: object): zlib.Gzip
  createDecompress(options: object): zlib.Gunzip
  readonly constants: {
    readonly ZSTD_c_compressionLevel: number
    readonly ZSTD_c_checksumFlag: number
    readonly ZSTD_c_strategy: number
  }
}

/** Throws ConfigError where this Node has no zstd. */
export function zstdOf(): Zstandard {
  const { createZstdCompress, createZstdDecompress, constants } = zlib as unknown as {
    createZstdCompress?: Zstandard['createCompress']
    createZstdDecompress?: Zstandard['createDecompress']
    constants: Zstandard['constants']
  }
  if (createZstdCompress === undefined || createZstdDecompress === undefined)
    throw new ConfigError([`zstd: not supported by Node ${process.versions.node}: node:zlib has it from 22.15 on`])
  return { createCompress: createZstdCompress, createDecompress: createZstdDecompress, constants }
}
