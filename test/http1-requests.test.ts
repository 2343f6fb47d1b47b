import { describe, expect, test } from 'vitest'
import { joinChunks, Pair, requestCases, settled, statusesIn } from './support/http1-pair.ts'

const cases = requestCases()

async function run(pieces: string[]): Promise<{ statuses: string; forwarded: string; received: string }> {
  const pair = new Pair()
  for (const piece of pieces) if (!pair.down.closed) pair.down.feed(piece)
  await settled()
  return { statuses: statusesIn(pair.down.written), forwarded: pair.forwarded, received: pair.down.written }
}

function check(got: { statuses: string; forwarded: string }, want: { statuses: string; forwarded: string }): void {
  expect(got.statuses).toBe(want.statuses)
  if (want.forwarded !== '*') expect(joinChunks(got.forwarded)).toBe(joinChunks(want.forwarded))
}

describe('each request is taken, re-written or refused as Envoy does', () => {
  test.each(cases)('$name', async (c) => {
    check(await run([c.raw]), c)
  })
})

describe('the same when its bytes come one at a time', () => {
  // A first byte that cannot begin a request is refused at once, so that the rest of it is not looked at.
  test.each(cases)('$name', async (c) => {
    check(await run([...c.raw]), c)
  })
})

describe('the same wherever it is cut in two', () => {
  test.each(cases)('$name', async (c) => {
    for (let cut = 1; cut < c.raw.length; cut += 1 + Math.floor(c.raw.length / 40)) {
      check(await run([c.raw.slice(0, cut), c.raw.slice(cut)]), c)
    }
  })
})

describe('refusals', () => {
  const closing =
    'content-length: 11\r\ncontent-type: text/plain\r\ndate: D\r\nserver: envoy\r\nconnection: close\r\n\r\n'

  test('have Envoy’s body and order of headers', async () => {
    const { received } = await run(['FOO / HTTP/1.1\r\nhost: a\r\n\r\n'])
    expect(received).toBe(`HTTP/1.1 400 Bad Request\r\n${closing}Bad Request`)
  })

  test('of too old versions say so', async () => {
    const { received } = await run(['GET / HTTP/1.0\r\nhost: a\r\n\r\n'])
    expect(received).toMatch(/^HTTP\/1\.1 426 Upgrade Required\r\ncontent-length: 16\r\n.*Upgrade Required$/s)
  })

  test('come without waiting for more when the first byte cannot begin a request', async () => {
    expect((await run(['\x16'])).statuses).toBe('400')
    expect((await run(['G'])).statuses).toBe('')
  })

  test('end the reading: what follows is not taken for a request', async () => {
    const { statuses, forwarded } = await run(['FOO / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n'])
    expect(statuses).toBe('400')
    expect(forwarded).toBe('')
  })
})

describe('limits', () => {
  const head = (size: number): string => {
    const empty = 'GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n'
    return empty.replace('x: ', `x: ${'b'.repeat(size - empty.length)}`)
  }

  test('a head of 60 KiB passes, one byte more is 431', async () => {
    expect((await run([head(61_440)])).statuses).toBe('200')
    expect((await run([head(61_441)])).statuses).toBe('431')
    expect((await run([head(61_441).slice(0, 30_000), head(61_441).slice(30_000)])).statuses).toBe('431')
  })

  test('a head that never ends is refused when it has grown too large', async () => {
    expect((await run([`GET /${'b'.repeat(70_000)}`])).statuses).toBe('431')
  })

  test('100 lines pass, Host among them; 101 are 431', async () => {
    const lines = (n: number): string => Array.from({ length: n }, (_, i) => `x-${i}: v\r\n`).join('')
    expect((await run([`GET / HTTP/1.1\r\nhost: a\r\n${lines(99)}\r\n`])).statuses).toBe('200')
    expect((await run([`GET / HTTP/1.1\r\nhost: a\r\n${lines(100)}\r\n`])).statuses).toBe('431')
  })

  test('a chunk size of more than 64 bits is refused, however it is written', async () => {
    const post = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n'
    expect((await run([`${post}10000000000000000\r\nhello`])).statuses).toBe('400')
    expect((await run([`${post}ffffffffffffffff\r\nhello`])).statuses).toBe('')
    expect((await run([`${post}00000000000000000000000000005\r\nhello\r\n0\r\n\r\n`])).statuses).toBe('200')
  })

  test('trailers may not be larger than a head', async () => {
    const post = 'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n'
    expect((await run([`${post}x: ${'b'.repeat(62_000)}\r\n\r\n`])).statuses).toBe('431')
  })
})
