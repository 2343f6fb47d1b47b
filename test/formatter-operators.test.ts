import { describe, expect, it } from 'vitest'
import { compileFormat, compileHeaderFormat, compileJsonFormat } from '../src/proxy/observe/formatter.ts'
import type { StreamInfo } from '../src/proxy/stream-info.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { connectionInfo, requestHead, responseHead, streamInfo } from './support/stream-info.ts'

const runtime = new TestRuntime()
const format = (text: string, fields: Partial<StreamInfo> = {}): string =>
  compileFormat(text, runtime).format(streamInfo(fields))
const utf8 = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('utf8')

/** What Envoy 1.40 wrote for the same request. */
const PLAIN: [operator: string, text: string][] = [
  ['%REQUESTED_SERVER_NAME(SNI_FIRST)%', 'svc.test:80'],
  ['%REQUESTED_SERVER_NAME(HOST_FIRST:HOST)%', 'svc.test:80'],
  ['%REQUESTED_SERVER_NAME(HOST_FIRST:ORIG)%', '-'],
  ['%REQUESTED_SERVER_NAME%', '-'],
  ['%QUERY_PARAMS%', 'a=1&b=%41+x&e=&c'],
  ['%QUERY_PARAMS(DECODED)%', 'a=1&b=A+x&e=&c'],
  ['%QUERY_PARAMS:3%', 'a=1'],
  ['%QUERY_PARAM(a)%', '1'],
  ['%QUERY_PARAM(b)%', 'A+x'],
  ['%QUERY_PARAM(e)%', ''],
  ['%QUERY_PARAM(none)%', '-'],
  ['%UPSTREAM_CONNECTION_ID%', '2'],
  ['%UPSTREAM_HOSTS_ATTEMPTED%', '10.244.0.11:9080'],
  ['%UPSTREAM_HOST_NAME_WITHOUT_PORT%', '10.244.0.11'],
  ['%STREAM_ID%', '42a753ce-ce13-48c8-ab7d-bbb91917b46f'],
  ['%LOCAL_REPLY_BODY%', ''],
  ['%ACCESS_LOG_TYPE%', 'DownstreamEnd'],
  ['%GRPC_STATUS%', '-'],
  ['%CUSTOM_FLAGS%', ''],
  ['%RESPONSE_FLAGS%', '-'],
  ['%DOWNSTREAM_CX_RTT%', '0'],
  ['%BYTES_RETRANSMITTED%', '0'],
  ['%TRACE_ID%', '-'],
  ['%DOWNSTREAM_DETECTED_CLOSE_TYPE%', 'Normal'],
  ['%START_TIME()%', '2026-11-24T20:46:05.104Z'],
  ['%START_TIME(%s|%3f|%E3S|%*f|%E*S)%', '1795553165|104|05.104|104|05.104'],
  [
    '%START_TIME(%Ez|%z|%Z|%a %A %b %B|%j|%U %u %w|%I %p)%',
    '+00:00|+0000|UTC|Tue Tuesday Nov November|328|47 2 2|08 PM',
  ],
  ['%START_TIME(%q|%k|%C|%D %T|%e|%%d|%y)%', '%q|20|20|11/24/26 20:46:05|24|%d|26'],
  ['%REQ(host)%', 'svc.test:80'],
  ['%REQ(:scheme)%', 'http'],
  ['%RESP(:status)%', '200'],
  ['%REQ(nope?:path):3%', '/p/'],
  ['%REQUEST_HEADER(user-agent):4%', 'curl'],
  ['%PATH(NQ)%', '/p/a%20b'],
  ['%PATH(WQ:ORIG)%', '-'],
  ['%UPSTREAM_PROTOCOL%', 'HTTP/1.1'],
  ['%ENVIRONMENT(DINGHY_NO_SUCH_VARIABLE)%', '-'],
  ['%FILTER_STATE(x)%', '-'],
  ['%METADATA(ROUTE:x)%', '-'],
  ['a%%b', 'a%b'],
  ['%PROTOCOL()%', 'HTTP/1.1'],
  ['', ''],
]

describe('a format operator', () => {
  it.each(PLAIN)('%s gives %s', (operator, text) => {
    expect(format(operator)).toBe(text)
  })

  it('gives durations in whole milliseconds and by named moments', () => {
    expect(
      format('%DURATION% %REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%'),
    ).toBe('4 0 1 3 1')
    expect(format('%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)% %COMMON_DURATION(DS_RX_BEG:foo)%')).toBe('4400 -')
    expect(format('%COMMON_DURATION(DS_TX_END:DS_RX_BEG)%')).toBe('-')
    expect(format('%RESPONSE_DURATION%', { upstreamFirstRx: 0 })).toBe('-')
  })

  it('lists flags in the order in which they were set', () => {
    expect(format('%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%', { flags: ['URX', 'UF'] })).toBe(
      'URX,UF UpstreamRetryLimitExceeded,UpstreamConnectionFailure',
    )
  })

  it('writes details without spaces unless they are wanted', () => {
    const responseCodeDetails = 'a b\tc'
    expect(format('%RESPONSE_CODE_DETAILS%', { responseCodeDetails })).toBe('a_b_c')
    expect(format('%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%', { responseCodeDetails })).toBe('a b\tc')
    expect(format('%UPSTREAM_TRANSPORT_FAILURE_REASON%', { upstreamTransportFailure: 'a b' })).toBe('a_b')
  })

  it('shows addresses whole, without port and as port', () => {
    const downstream = connectionInfo({
      remote: { ip: '::1', port: 7 },
      directRemote: { ip: '10.0.0.1', port: 8 },
      directLocal: { ip: '127.1.0.3', port: 15006 },
    })
    expect(
      format('%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%', {
        downstream,
        trustedClientIp: '',
      }),
    ).toBe('[::1]:7 ::1 7')
    expect(
      format('%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', {
        downstream,
        trustedClientIp: '1.2.3.4',
      }),
    ).toBe('1.2.3.4:0 1.2.3.4')
    expect(format('%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_PORT%', { downstream })).toBe(
      '10.0.0.1:8 15006',
    )
    expect(format('%UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_PORT%', { upstream: undefined })).toBe('- -')
  })

  it('names the cluster by its alternative name, and raw', () => {
    expect(
      format('%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%', { clusterObservabilityName: 'alt', clusterName: 'c' }),
    ).toBe('alt c')
    expect(format('%UPSTREAM_CLUSTER%', { clusterName: undefined })).toBe('-')
  })

  it('marks an SNI that is no host name', () => {
    expect(format('%REQUESTED_SERVER_NAME%', { downstream: connectionInfo({ sni: 'a b/c' }) })).toBe('invalid:a_b_c')
  })

  it('reads metadata by path, as text and as compact JSON with sorted keys', () => {
    const routeMetadata = new Map([
      ['ns', { k: 'é', n: 5, f: 1.5, b: true, l: [1, 'x'], o: { z: 1, a: null }, big: 1e21 }],
    ])
    const read = (operator: string): string => utf8(format(operator, { routeMetadata }))
    expect(read('%METADATA(ROUTE:ns)%')).toBe(
      '{"b":true,"big":1e+21,"f":1.5,"k":"é","l":[1,"x"],"n":5,"o":{"a":null,"z":1}}',
    )
    expect(read('%METADATA(ROUTE:ns:k)%|%METADATA(ROUTE:ns:l)%|%METADATA(ROUTE:ns:o):5%')).toBe('é|[1,"x"]|{"a":')
    expect(read('%METADATA(ROUTE:ns:o:a)%|%METADATA(ROUTE:ns:k:x)%')).toBe('-|-')
    expect(format('%UPSTREAM_METADATA(envoy.lb:version)%')).toBe('v1')
    expect(format('%DYNAMIC_METADATA(f:a):2%', { dynamicMetadata: new Map([['f', { a: 'xyz' }]]) })).toBe('xy')
  })

  it('serialises filter state plain, typed and by field', () => {
    const filterState = new Map<string, unknown>([
      ['s', 'text'],
      ['o', { app: 'reviews' }],
    ])
    expect(format('%FILTER_STATE(s:PLAIN)% %FILTER_STATE(s)% %FILTER_STATE(o:FIELD:app)%', { filterState })).toBe(
      'text "text" reviews',
    )
  })

  it('gives the gRPC status of gRPC requests only', () => {
    const request = requestHead('POST', '/s/m', 'a', [['content-type', 'application/grpc+proto']])
    const fields = { request, responseTrailers: responseHead(200, [['grpc-status', '14']]) }
    expect(format('%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%', fields)).toBe(
      'Unavailable UNAVAILABLE 14',
    )
    expect(format('%GRPC_STATUS%', { request, responseCode: 404 })).toBe('Unimplemented')
    expect(format('%GRPC_STATUS%', { request, responseTrailers: responseHead(200, [['grpc-status', '99']]) })).toBe(
      '99',
    )
  })

  it('takes a value out of x-forwarded-client-cert', () => {
    const request = requestHead('GET', '/', 'a', [
      ['x-forwarded-client-cert', 'By=spiffe://a;Subject="CN=\\"x,y\\";O=z";URI=spiffe://b,URI=spiffe://c'],
    ])
    expect(format('%XFCC_VALUE(uri)% %XFCC_VALUE(Subject)% %XFCC_VALUE(hash)%', { request })).toBe(
      'spiffe://b CN="x,y";O=z -',
    )
  })

  it('takes the first of several operators that has a value', () => {
    const coalesce = (text: string): string => format(`%COALESCE(${text})%`)
    expect(coalesce('{"operators":["TRACE_ID",{"command":"REQ","param":"user-agent","max_length":4}]}')).toBe('curl')
    expect(coalesce('{"operators":["TRACE_ID"]}')).toBe('-')
    expect(coalesce('{"operators":["LOCAL_REPLY_BODY","PROTOCOL"]}')).toBe('')
    expect(format('%COALESCE({"operators":["PROTOCOL"]}):3%')).toBe('HTT')
  })

  it('sends raw header bytes and configured UTF-8 through unchanged', () => {
    const request = requestHead('GET', '/', 'a', [['x-u', '\xc3\xa9\xff']])
    expect(Buffer.from(format('é %REQ(x-u)%', { request }), 'latin1')).toEqual(
      Buffer.concat([Buffer.from('é é'), Buffer.from([0xff])]),
    )
  })
})

describe('a header value format', () => {
  const value = (text: string, fields: Partial<StreamInfo> = {}): string =>
    compileHeaderFormat(text, runtime).format(streamInfo(fields))

  it('writes nothing for what is missing', () => {
    expect(value('a%REQ(none)%b')).toBe('ab')
  })

  it('understands the older spellings of metadata and state', () => {
    const fields = {
      dynamicMetadata: new Map([['ns', { a: { b: 'x' } }]]),
      filterState: new Map<string, unknown>([['k', 'v']]),
    }
    expect(value('%DYNAMIC_METADATA(["ns", "a", "b"])% %PER_REQUEST_STATE(k)%', fields)).toBe('x v')
  })
})

describe('a JSON format', () => {
  it('cuts strings to a length, but not numbers', () => {
    const routeMetadata = new Map([['ns', { f: 1.5, k: 'é', o: { z: 1, a: null } }]])
    const formatter = compileJsonFormat(
      {
        b: '%COALESCE({"operators":["TRACE_ID","RESPONSE_CODE"]}):2%',
        c: '%COALESCE({"operators":["TRACE_ID"]})%',
        d: '%COALESCE({"operators":["PROTOCOL"]}):3%',
        f: '%METADATA(ROUTE:ns:f):2%',
        g: '%METADATA(ROUTE:ns:k):1%',
        h: '%METADATA(ROUTE:ns:o):2%',
      },
      runtime,
    )
    expect(formatter.format(streamInfo({ routeMetadata }))).toBe(
      '{"b":200,"c":null,"d":"HTT","f":1.5,"g":"\\u00c3","h":{"a":null,"z":1}}\n',
    )
  })

  it('sorts keys, keeps the type of a lone operator, and writes null for what is missing', () => {
    const request = requestHead('GET', '/', 'a', [
      ['x-u', '\xc3\xa9'],
      ['x-q', 'a"b\\c\td\xc3\xa9'],
      ['x-bad', '\xe9"'],
    ])
    const formatter = compileJsonFormat(
      {
        code: '%RESPONSE_CODE%',
        fl: '%RESPONSE_FLAGS%',
        u: '%REQ(x-u)%',
        q: '%REQ(x-q)%',
        bad: '%REQ(x-bad)%',
        b: true,
        n: 1.5,
        nn: null,
        lit: 'a"b\né',
        mix: '%REQ(x-q)%-%RESPONSE_CODE%-%REQ(no)%',
        pct: 'a%%',
        empty: '',
        l: ['%PROTOCOL%', { a: '%REQ(no)%' }],
        lport: '%DOWNSTREAM_REMOTE_PORT%',
        dur: '%DURATION%',
        host: '%UPSTREAM_HOST%',
        big: 2 ** 65,
        Z: '1',
        é: '2',
      },
      runtime,
    )
    expect(utf8(formatter.format(streamInfo({ request })))).toBe(
      '{"Z":"1","b":true,"bad":"\\u00e9\\u0022","big":36893488147419103232,"code":200,"dur":4,"empty":"","fl":"-",' +
        '"host":"10.244.0.11:9080","l":["HTTP/1.1",{"a":null}],"lit":"a\\"b\\né","lport":4000,' +
        '"mix":"a\\"b\\\\c\\tdé-200--","n":1.5,"nn":null,"pct":"a%","q":"a\\"b\\\\c\\tdé","u":"é","é":"2"}\n',
    )
  })
})
