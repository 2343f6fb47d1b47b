import net from 'node:net'

/** A frame as bytes. */
export function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** 32-bit numbers, one after the other. */
export function u32(...numbers: number[]): Buffer {
  const out = Buffer.alloc(4 * numbers.length)
  for (const [i, n] of numbers.entries()) out.writeUInt32BE(n, 4 * i)
  return out
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

/** A header block of literals, without any compression. */
export function headerBlock(lines: readonly (readonly [string, string])[]): Buffer {
  const text = (s: string) => {
    const bytes = Buffer.from(s, 'latin1')
    const length =
      bytes.length < 127 ? [bytes.length] : [127, ((bytes.length - 127) & 127) | 128, (bytes.length - 127) >> 7]
    return Buffer.concat([Buffer.from(length), bytes])
  }
  return Buffer.concat(lines.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]))
}

/** A HEADERS frame of a GET for `/`, with changes: an undefined pseudo header is left out. */
export function requestFrame(
  stream: number,
  end: boolean,
  changes: Readonly<Record<string, string | undefined>> = {},
  more: readonly (readonly [string, string])[] = [],
): Buffer {
  const pseudo = { ':method': 'GET', ':scheme': 'http', ':path': '/', ':authority': 'a.test', ...changes }
  const lines = Object.entries(pseudo).filter((line): line is [string, string] => line[1] !== undefined)
  return frame(1, 4 | (end ? 1 : 0), stream, headerBlock([...lines, ...more]))
}

const NAMES = ['DATA', 'HEADERS', 'PRIORITY', 'RST_STREAM', 'SETTINGS', '', 'PING', 'GOAWAY', 'WINDOW_UPDATE']

/** A client that speaks in frames. What came is in `seen`: `RST_STREAM 1 code=8`, `GOAWAY 0 last=1 code=0`, `DATA 1 text`, … */
export class FrameClient {
  readonly socket: net.Socket
  readonly seen: string[] = []
  /** The server has closed the connection. */
  readonly closed: Promise<void>
  private bytes = Buffer.alloc(0)
  private readonly waiting = new Set<() => void>()

  constructor(port: number, host = '127.0.0.1') {
    this.socket = net.connect(port, host)
    this.socket.on('error', () => {})
    this.socket.on('data', (data) => this.take(data))
    this.closed = new Promise((resolve) => {
      this.socket.once('end', () => resolve())
      this.socket.once('close', () => resolve())
    })
    this.socket.write(Buffer.concat([PREFACE, frame(4, 0, 0)]))
  }

  send(...frames: Buffer[]): void {
    this.socket.write(Buffer.concat(frames))
  }

  /** Resolves with the first frame that came and contains `text`. */
  async sees(text: string): Promise<string> {
    for (;;) {
      const found = this.seen.find((line) => line.includes(text))
      if (found !== undefined) return found
      await new Promise<void>((resolve) => this.waiting.add(resolve))
    }
  }

  close(): void {
    this.socket.destroy()
  }

  private take(data: Buffer): void {
    this.bytes = Buffer.concat([this.bytes, data])
    while (this.bytes.length >= 9) {
      const length = this.bytes.readUIntBE(0, 3)
      if (this.bytes.length < 9 + length) break
      const type = this.bytes[3]!
      const stream = this.bytes.readUInt32BE(5)
      const payload = this.bytes.subarray(9, 9 + length)
      this.bytes = this.bytes.subarray(9 + length)
      let more = ''
      if (type === 0) more = ` ${payload.length < 100 ? payload.toString('latin1') : payload.length}`
      else if (type === 3) more = ` code=${payload.readUInt32BE(0)}`
      else if (type === 7) more = ` last=${payload.readUInt32BE(0)} code=${payload.readUInt32BE(4)}`
      this.seen.push(`${NAMES[type] ?? type} ${stream}${more}`)
    }
    for (const wake of this.waiting) wake()
    this.waiting.clear()
  }
}
