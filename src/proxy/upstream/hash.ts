import xxhash from 'xxhash-wasm'

const xx = await xxhash()
const encoder = new TextEncoder()
const MASK = (1n << 64n) - 1n

/** xxHash64 of the UTF-8 bytes of a string, or of bytes (source/common/common/hash.h HashUtil::xxHash64). */
export function xxHash64(input: string | Uint8Array, seed = 0n): bigint {
  return typeof input === 'string' ? xx.h64(input, seed) : xx.h64Raw(input, seed)
}

/** The seed that libstdc++ and Envoy use for MurmurHash2 (source/common/common/hash.h STD_HASH_SEED). */
const STD_HASH_SEED = 0xc70f6907n
const MUL = 0xc6a4a7935bd1e995n

/** MurmurHash2, 64 bit, as libstdc++'s std::hash computes it (source/common/common/hash.cc). */
export function murmurHash2(input: string, seed = STD_HASH_SEED): bigint {
  const bytes = encoder.encode(input)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const aligned = bytes.length & ~7
  let hash = (seed ^ (BigInt(bytes.length) * MUL)) & MASK
  for (let i = 0; i < aligned; i += 8) {
    const data = (shiftMix((view.getBigUint64(i, true) * MUL) & MASK) * MUL) & MASK
    hash = ((hash ^ data) * MUL) & MASK
  }
  if (bytes.length & 7) {
    let tail = 0n
    for (let i = bytes.length - 1; i >= aligned; i--) tail = (tail << 8n) | BigInt(bytes[i]!)
    hash = ((hash ^ tail) * MUL) & MASK
  }
  return shiftMix((shiftMix(hash) * MUL) & MASK)
}

function shiftMix(v: bigint): bigint {
  return v ^ (v >> 47n)
}
