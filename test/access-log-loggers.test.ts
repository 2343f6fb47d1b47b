import type { Any } from '@bufbuild/protobuf/wkt'
import { describe, expect, it } from 'vitest'
import type { LogFiles, ProxyContext } from '../src/proxy/context.ts'
import { compileAccessLoggers } from '../src/proxy/observe/formatter.ts'
import type { StreamInfo } from '../src/proxy/stream-info.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { type Init, make, packed } from '../src/xds/messages.ts'
import { requestHead, responseHead, streamInfo } from './support/stream-info.ts'

type FilterInit = Init<'envoy.config.accesslog.v3.AccessLogFilter'>

/** Log files that are arrays of lines. */
class Lines implements LogFiles {
  readonly files: Record<string, string[]> = {}
  open(path: string) {
    this.files[path] ??= []
    const lines = this.files[path]
    return { write: (line: string) => void lines.push(line) }
  }
}

function loggersOf(typedConfig: Any | undefined, filter?: FilterInit) {
  const logs = new Lines()
  const context = { runtime: new TestRuntime(), logs } as unknown as ProxyContext
  const config = make('envoy.config.accesslog.v3.AccessLog', {
    name: 'log',
    ...(typedConfig && { configType: { case: 'typedConfig', value: typedConfig } }),
    ...(filter && { filter }),
  })
  return { loggers: compileAccessLoggers([config], context), logs }
}

function logged(typedConfig: Any, info: StreamInfo): Record<string, string[]> {
  const { loggers, logs } = loggersOf(typedConfig)
  for (const logger of loggers) logger.log(info)
  return logs.files
}

const FILE = 'envoy.extensions.access_loggers.file.v3.FileAccessLog'

describe('an access logger', () => {
  it("writes Envoy's own format when it has none", () => {
    expect(logged(packed(FILE, { path: '/x' }), streamInfo())).toEqual({
      '/x': [
        '[2026-11-24T20:46:05.104Z] "GET /p/a%20b?a=1&b=%41+x&e=&c HTTP/1.1" 200 - 0 10 4 3 "-" "curl/8" ' +
          '"42a753ce-ce13-48c8-ab7d-bbb91917b46f" "svc.test:80" "10.244.0.11:9080"\n',
      ],
    })
  })

  it('takes an inline format, an older one, and JSON', () => {
    const inline = packed(FILE, {
      path: '/x',
      accessLogFormat: {
        case: 'logFormat',
        value: {
          format: {
            case: 'textFormatSource',
            value: { specifier: { case: 'inlineString', value: '%RESPONSE_CODE%;' } },
          },
        },
      },
    })
    const older = packed(FILE, { path: '/x', accessLogFormat: { case: 'format', value: '%PROTOCOL%\n' } })
    const json = packed(FILE, { path: '/x', accessLogFormat: { case: 'jsonFormat', value: { c: '%RESPONSE_CODE%' } } })
    expect([inline, older, json].map((any) => logged(any, streamInfo())['/x'])).toEqual([
      ['200;'],
      ['HTTP/1.1\n'],
      ['{"c":200}\n'],
    ])
  })

  it('writes nothing for what is missing when it is told to', () => {
    const any = packed(FILE, {
      path: '/x',
      accessLogFormat: {
        case: 'logFormat',
        value: { omitEmptyValues: true, format: { case: 'textFormat', value: '[%REQ(none)%]' } },
      },
    })
    expect(logged(any, streamInfo())['/x']).toEqual(['[]'])
  })

  it('strips queries with the extension that is listed for it', () => {
    const any = packed(FILE, {
      path: '/x',
      accessLogFormat: {
        case: 'logFormat',
        value: {
          format: { case: 'textFormat', value: '%REQ_WITHOUT_QUERY(:path)%' },
          formatters: [
            {
              name: 'envoy.formatter.req_without_query',
              typedConfig: packed('envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery', {}),
            },
          ],
        },
      },
    })
    expect(logged(any, streamInfo())['/x']).toEqual(['/p/a%20b'])
  })

  it('writes to the standard streams', () => {
    expect(
      Object.keys(logged(packed('envoy.extensions.access_loggers.stream.v3.StdoutAccessLog', {}), streamInfo())),
    ).toEqual(['/dev/stdout'])
    expect(
      Object.keys(logged(packed('envoy.extensions.access_loggers.stream.v3.StderrAccessLog', {}), streamInfo())),
    ).toEqual(['/dev/stderr'])
  })

  it('of another kind is refused by name', () => {
    expect(() => loggersOf(packed('envoy.extensions.access_loggers.wasm.v3.WasmAccessLog', {}))).toThrow(
      'access logger envoy.extensions.access_loggers.wasm.v3.WasmAccessLog is not supported',
    )
  })
})

const GE = 1
const LE = 2

const CASES: [name: string, filter: FilterInit, logged: Partial<StreamInfo>[], skipped: Partial<StreamInfo>[]][] = [
  [
    'status code',
    {
      filterSpecifier: {
        case: 'statusCodeFilter',
        value: { comparison: { op: GE, value: { defaultValue: 400, runtimeKey: 'k' } } },
      },
    },
    [{ responseCode: 400 }, { responseCode: 503 }],
    [{ responseCode: 200 }, { responseCode: 0 }],
  ],
  [
    'duration',
    {
      filterSpecifier: {
        case: 'durationFilter',
        value: { comparison: { op: LE, value: { defaultValue: 4, runtimeKey: 'k' } } },
      },
    },
    [{ start: 0, end: 4.9 }],
    [{ start: 0, end: 5 }],
  ],
  ['no health check', { filterSpecifier: { case: 'notHealthCheckFilter', value: {} } }, [{}], [{ healthCheck: true }]],
  ['traceable', { filterSpecifier: { case: 'traceableFilter', value: {} } }, [{ traceForced: true }], [{}]],
  [
    'a share of requests by request id',
    { filterSpecifier: { case: 'runtimeFilter', value: { runtimeKey: 'k', percentSampled: { numerator: 50 } } } },
    [{ request: requestHead('GET', '/', 'a', [['x-request-id', '00000031-0000']]) }],
    [{ request: requestHead('GET', '/', 'a', [['x-request-id', '00000032-0000']]) }],
  ],
  [
    'any flag',
    { filterSpecifier: { case: 'responseFlagFilter', value: { flags: [] } } },
    [{ flags: ['UF'] }],
    [{ flags: [] }],
  ],
  [
    'some flags',
    { filterSpecifier: { case: 'responseFlagFilter', value: { flags: ['NR'] } } },
    [{ flags: ['UF', 'NR'] }],
    [{ flags: ['UF'] }],
  ],
  [
    'header',
    {
      filterSpecifier: {
        case: 'headerFilter',
        value: {
          header: {
            name: ':method',
            headerMatchSpecifier: { case: 'stringMatch', value: { matchPattern: { case: 'exact', value: 'GET' } } },
          },
        },
      },
    },
    [{}],
    [{ request: requestHead('PUT', '/', 'a') }, { request: undefined }],
  ],
  [
    'gRPC status',
    { filterSpecifier: { case: 'grpcStatusFilter', value: { statuses: [14], exclude: true } } },
    [{ response: responseHead(200, [['grpc-status', '0']]) }],
    [{ response: responseHead(200, [['grpc-status', '14']]) }, { responseCode: 503 }],
  ],
  [
    'metadata',
    {
      filterSpecifier: {
        case: 'metadataFilter',
        value: {
          matcher: {
            filter: 'ns',
            path: [{ segment: { case: 'key', value: 'k' } }],
            value: { matchPattern: { case: 'boolMatch', value: true } },
          },
          matchIfKeyNotFound: false,
        },
      },
    },
    [{ dynamicMetadata: new Map([['ns', { k: true }]]) }],
    [{ dynamicMetadata: new Map([['ns', { k: false }]]) }, {}],
  ],
  [
    'log type',
    { filterSpecifier: { case: 'logTypeFilter', value: { types: [6] } } },
    [{}],
    [{ accessLogType: 'DownstreamStart' }, { protocol: undefined }],
  ],
  [
    'all of several',
    {
      filterSpecifier: {
        case: 'andFilter',
        value: {
          filters: [
            { filterSpecifier: { case: 'notHealthCheckFilter', value: {} } },
            { filterSpecifier: { case: 'responseFlagFilter', value: { flags: [] } } },
          ],
        },
      },
    },
    [{ flags: ['UF'] }],
    [{ flags: [] }, { flags: ['UF'], healthCheck: true }],
  ],
  [
    'one of several',
    {
      filterSpecifier: {
        case: 'orFilter',
        value: {
          filters: [
            { filterSpecifier: { case: 'traceableFilter', value: {} } },
            { filterSpecifier: { case: 'responseFlagFilter', value: { flags: [] } } },
          ],
        },
      },
    },
    [{ flags: ['UF'] }, { traceForced: true }],
    [{}],
  ],
]

describe('an access-log filter', () => {
  it.each(CASES)('by %s', (_name, filter, wanted, unwanted) => {
    const { loggers, logs } = loggersOf(packed(FILE, { path: '/x' }), filter)
    for (const fields of unwanted) loggers[0]!.log(streamInfo(fields))
    expect(logs.files['/x']).toEqual([])
    for (const fields of wanted) loggers[0]!.log(streamInfo(fields))
    expect(logs.files['/x']).toHaveLength(wanted.length)
  })

  it('with a flag that does not exist is refused', () => {
    const filter: FilterInit = { filterSpecifier: { case: 'responseFlagFilter', value: { flags: ['XX'] } } }
    expect(() => loggersOf(packed(FILE, { path: '/x' }), filter)).toThrow('XX is no response flag')
  })

  it('of an extension is refused by name', () => {
    const filter: FilterInit = {
      filterSpecifier: {
        case: 'extensionFilter',
        value: {
          name: 'cel',
          configType: {
            case: 'typedConfig',
            value: packed('envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter', { expression: 'true' }),
          },
        },
      },
    }
    expect(() => loggersOf(packed(FILE, { path: '/x' }), filter)).toThrow(
      'envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter is not supported',
    )
  })
})
