import { readFileSync } from 'node:fs'
import { createClientConnection } from '../../src/proxy/http1/client.ts'
import { createServerConnection } from '../../src/proxy/http1/server.ts'
import {
  type Http1ClientSettings,
  type Http1Settings,
  http1ClientSettings,
  http1Settings,
} from '../../src/proxy/http1/settings.ts'
import { TestRuntime } from '../../src/runtime-test.ts'
import { MemoryTransport } from './memory-transport.ts'
import { decorate, smallProxy } from './small-proxy.ts'

/** One line of `http1-requests.tsv`. */
export interface RequestCase {
  readonly name: string
  readonly raw: string
  readonly statuses: string
  /** '*' when it is not looked at. */
  readonly forwarded: string
}

/** Requests and what a real Envoy 1.40 made of them. */
export function requestCases(): RequestCase[] {
  const text = readFileSync(new URL('http1-requests.tsv', import.meta.url), 'utf8')
  const decode = (field: string): string => JSON.parse(`"${field}"`) as string
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [name, raw, statuses, forwarded] = line.split('\t')
      return { name: name!, raw: decode(raw!), statuses: statuses!, forwarded: decode(forwarded ?? '') }
    })
}

/** The statuses in what a client received. */
export function statusesIn(received: string): string {
  return [...received.matchAll(/HTTP\/1\.[01] (\d+) /g)].map((match) => match[1]).join(' ')
}

/** Both codecs with a small proxy between, on memory transports; the upstream answers each complete request. */
export class Pair {
  readonly down = new MemoryTransport()
  readonly ups: MemoryTransport[] = []
  readonly runtime = new TestRuntime()
  /** What the upstream answers; undefined: the test feeds it by hand. */
  answer: string | undefined = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
  idle = 0

  constructor(
    settings: Partial<Http1Settings> = {},
    clientSettings: Partial<Http1ClientSettings> = {},
    options: { upgrades?: boolean } = {},
  ) {
    const proxy = smallProxy((handler) => {
      const up = new MemoryTransport()
      this.ups.push(up)
      const connection = createClientConnection(up, http1ClientSettings(clientSettings), {
        onIdle: () => {
          this.idle++
        },
        onClose() {},
        onDrain() {},
      })
      up.onWrite = () => this.answerIfComplete(up)
      return connection.newStream(handler)
    }, options)
    createServerConnection(this.down, http1Settings(this.runtime, { decorate, ...settings }), proxy)
  }

  /** What all upstream connections were sent. */
  get forwarded(): string {
    return this.ups.map((up) => up.written).join('')
  }

  private answerIfComplete(up: MemoryTransport): void {
    const answer = this.answer
    if (answer === undefined || !isComplete(up.written)) return
    up.onWrite = undefined
    queueMicrotask(() => up.feed(answer))
  }
}

/** Whether what the codec wrote, which is canonical, is a whole request. */
export function isComplete(request: string): boolean {
  const end = request.indexOf('\r\n\r\n')
  if (end < 0) return false
  const head = request.slice(0, end).toLowerCase()
  const length = /\r\ncontent-length: (\d+)/.exec(head)
  if (length !== null) return request.length >= end + 4 + Number(length[1])
  return !head.includes('\r\ntransfer-encoding: chunked') || request.endsWith('0\r\n\r\n')
}

/** Lets answers of upstreams, and what follows from them, happen. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** The same messages with each chunked body in one chunk: where a body is cut says nothing about it. */
export function joinChunks(messages: string): string {
  return messages.replace(
    /(transfer-encoding: chunked\r\n\r\n)((?:[1-9a-f][0-9a-f]*\r\n[^\r]*\r\n)+)0\r\n/g,
    (_all, head, body) => {
      const data = String(body).replace(/[0-9a-f]+\r\n([^\r]*)\r\n/g, '$1')
      return `${head}${data.length.toString(16)}\r\n${data}\r\n0\r\n`
    },
  )
}
