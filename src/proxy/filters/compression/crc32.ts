const table = new Int32Array(256)
for (let i = 0; i < 256; i++) {
  let c = i
  for (let k = 0; k < 8; k++) c = (c & 1) !== 0 ? (c >>> 1) ^ 0xedb88320 : c >>> 1
  table[i] = c
}

/** The checksum of gzip over one more piece; `before` is that of all before it, 0 at the start. */
export function crc32(bytes: Uint8Array, before: number): number {
  let c = ~before
  for (let i = 0; i < bytes.length; i++) c = table[(c ^ bytes[i]!) & 0xff]! ^ (c >>> 8)
  return ~c >>> 0
}
