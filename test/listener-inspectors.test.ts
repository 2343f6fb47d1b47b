import { describe, expect, test } from 'vitest'
import { inspectHttp } from '../src/proxy/listener/http-inspector.ts'
import { readProxyHeader } from '../src/proxy/listener/proxy-protocol.ts'
import { inspectTls } from '../src/proxy/listener/tls-inspector.ts'
import { clientHello } from './support/client-hello.ts'

describe('the TLS inspector', () => {
  test('finds server name and protocols, however the ClientHello is cut', async () => {
    const hello = await clientHello({ servername: 'Reviews.Default.svc', ALPNProtocols: ['istio', 'http/1.1'] })
    for (let n = 0; n < hello.length; n++) expect(inspectTls(hello.subarray(0, n))).toBe('more')
    expect(inspectTls(hello)).toEqual({ sni: 'reviews.default.svc', alpn: ['istio', 'http/1.1'] })
  })

  test('finds a ClientHello that is spread over several records', async () => {
    const hello = await clientHello({ servername: 'a.test' })
    const body = hello.subarray(5)
    const records: Buffer[] = []
    for (let at = 0; at < body.length; at += 50) {
      const part = body.subarray(at, at + 50)
      records.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 255]), part)
    }
    expect(inspectTls(Buffer.concat(records))).toEqual({ sni: 'a.test', alpn: [] })
  })

  test('takes a hello without a name', async () => {
    expect(inspectTls(await clientHello({}))).toEqual({ sni: '', alpn: [] })
  })

  test.each([
    ['a request', 'GET / HTTP/1.1\r\n', 'not-tls'],
    ['four bytes, which decide nothing', 'GET ', 'more'],
    ['five bytes of text', 'GET /', 'not-tls'],
    ['a record of another kind', '\x17\x03\x01\x00\x05hello', 'not-tls'],
  ])('judges %s', (_name, text, verdict) => {
    expect(inspectTls(Buffer.from(text, 'latin1'))).toBe(verdict)
  })
})

describe('the HTTP inspector', () => {
  test.each([
    ['GET / HTTP/1.1\r\nHost: a\r\n', 'http/1.1'],
    ['GET / HTTP/1.0\r\n', 'http/1.0'],
    ['GET /\r\n', 'http/1.0'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'h2c'],
    ['PRI * HTTP/2.0\r\n\r\n', 'more'],
    ['GET / HT', 'more'],
    ['G', 'more'],
    ['\r\nGET / HTTP/1.1\r\n', 'not-http'],
    ['\x00\x01\x02', 'not-http'],
    ['*1\r\n$4\r\nPING\r\n', 'not-http'],
    ['hello there, friend\r\n', 'not-http'],
  ])('reads %j as %s', (text, verdict) => {
    expect(inspectHttp(Buffer.from(text, 'latin1'))).toBe(verdict)
  })

  test('gives up on a request line without end', () => {
    expect(inspectHttp(Buffer.from(`GET /${'a'.repeat(70_000)}`))).toBe('too-large')
  })
})

describe('the PROXY protocol', () => {
  const addresses = { remote: { ip: '10.1.1.1', port: 1111 }, local: { ip: '10.2.2.2', port: 80 } }

  test('version 1 is read whole only', () => {
    const line = Buffer.from('PROXY TCP4 10.1.1.1 10.2.2.2 1111 80\r\nGET /')
    const length = line.indexOf('\r\n') + 2
    for (let n = 0; n < length; n++) expect(readProxyHeader(line.subarray(0, n))).toBe('more')
    expect(readProxyHeader(line)).toEqual({ version: 1, length, addresses })
  })

  test('version 2 is read with its extensions', () => {
    const body = Buffer.from([10, 1, 1, 1, 10, 2, 2, 2, 1111 >> 8, 1111 & 255, 0, 80, 4, 0, 1, 0])
    const head = Buffer.concat([
      Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'),
      Buffer.from([0x21, 0x11, 0, body.length]),
    ])
    const bytes = Buffer.concat([head, body, Buffer.from('rest')])
    expect(readProxyHeader(bytes.subarray(0, 20))).toBe('more')
    expect(readProxyHeader(bytes)).toEqual({
      version: 2,
      length: 32,
      addresses,
      tlvs: [{ type: 4, value: Buffer.from([0]) }],
    })
  })

  test.each([
    ['GET / HTTP/1.1\r\n', 'none'],
    ['PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n', 'error'],
    ['PROXY TCP4 1.1.1.1 2.2.2.2 1 99999\r\n', 'error'],
    ['PROXY TCP4 255.255.255.255 2.2.2.2 1 2\r\n', 'error'],
    [`PROXY TCP4 ${'1'.repeat(120)}`, 'error'],
  ])('judges %j', (text, verdict) => {
    expect(readProxyHeader(Buffer.from(text, 'latin1'))).toBe(verdict)
  })

  test('UNKNOWN leaves the addresses of the socket', () => {
    expect(readProxyHeader(Buffer.from('PROXY UNKNOWN\r\n'))).toEqual({ version: 1, length: 15, addresses: undefined })
  })
})
