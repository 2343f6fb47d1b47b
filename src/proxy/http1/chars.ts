function table(fill: (set: (from: number, to: number, value?: number) => void) => void): Uint8Array {
  const out = new Uint8Array(256)
  fill((from, to, value) => {
    for (let c = from; c <= to; c++) out[c] = value ?? 1
  })
  return out
}

const code = (text: string): number => text.charCodeAt(0)

function each(text: string, out: Uint8Array): Uint8Array {
  for (const c of text) out[code(c)] = code(c)
  return out
}

/** Token characters (RFC 9110 §5.6.2), each as its lower case; 0: no token character. */
export const nameChar: Uint8Array = each(
  "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz",
  table((set) => {
    for (let c = 65; c <= 90; c++) set(c, c, c + 32)
  }),
)

/** Characters of a header value: tab, visible ones, and bytes from 0x80. CR and LF are looked at apart. */
export const valueChar: Uint8Array = table((set) => {
  set(9, 9)
  set(32, 126)
  set(128, 255)
})

/** Characters of a request target that starts with `/` (isUrlValid in source/common/http/http1/balsa_parser.cc). */
export const targetChar: Uint8Array = table((set) => set(33, 126))

/** Characters of an authority (the same file, and nghttp2_check_authority). */
export const authorityChar: Uint8Array = each(
  "!$%&'()*+,-.:;=@[]_~",
  table((set) => {
    set(48, 57)
    set(65, 90)
    set(97, 122)
  }),
)

/** Value of a hexadecimal digit, plus one; 0: none. */
export const hexDigit: Uint8Array = table((set) => {
  for (let d = 0; d < 10; d++) set(48 + d, 48 + d, d + 1)
  for (let d = 10; d < 16; d++) {
    set(55 + d, 55 + d, d + 1)
    set(87 + d, 87 + d, d + 1)
  }
})

export const CR = 13
export const LF = 10
export const SP = 32
export const TAB = 9
