import { expect, it } from 'vitest'
import { ConfigError } from '../src/proxy/context.ts'
import { compileFormat } from '../src/proxy/observe/formatter.ts'
import { TestRuntime } from '../src/runtime-test.ts'

/** What Envoy 1.40 says when it refuses the same format. */
const REFUSED: [format: string, message: string][] = [
  ['%FOO%', 'Not supported field in StreamInfo: FOO'],
  ['%REQ(a%', "Incorrect configuration: %REQ(a%. Couldn't find valid command at position 0"],
  ['a%', "Incorrect configuration: a%. Couldn't find valid command at position 1"],
  ['%req%', "Incorrect configuration: %req%. Couldn't find valid command at position 0"],
  ['%REQ(a)?%', "Incorrect configuration: %REQ(a)?%. Couldn't find valid command at position 0"],
  ['%REQ%', 'REQ requires parameters'],
  ['%REQ(a?b?c)%', 'More than 1 alternative header specified in token: a?b?c'],
  ['%REQ(a b)%', 'Invalid header configuration. Format string contains invalid characters.'],
  ['%PROTOCOL(x)%', 'PROTOCOL does not take any parameters or length'],
  ['%PROTOCOL:3%', 'PROTOCOL does not take any parameters or length'],
  ['%START_TIME(%n)%', 'Invalid header configuration. Format string contains newline.'],
  ['%START_TIME:3%', 'START_TIME does not allow length to be specified.'],
  ['%RESPONSE_CODE_DETAILS:3%', 'RESPONSE_CODE_DETAILS does not allow length to be specified.'],
  ['%CLUSTER_METADATA(a:b):3%', 'CLUSTER_METADATA does not allow length to be specified.'],
  ['%METADATA(x:a)%', 'x is not supported type of metadata'],
  ['%XFCC_VALUE(foo)%', 'XFCC_VALUE command does not support subcommand: foo'],
  ['%PATH(x)%', "Invalid PATH option: 'x', only 'WQ'/'NQ' are allowed"],
  ['%PATH(WQ:x)%', "Invalid PATH option: 'x', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"],
  ['%QUERY_PARAMS(x)%', "Invalid QUERY_PARAMS option: 'x', only 'ORIG'/'DECODED' are allowed"],
  [
    '%REQUESTED_SERVER_NAME(x)%',
    "Invalid REQUESTED_SERVER_NAME option: 'x', only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed",
  ],
  ['%GRPC_STATUS(x)%', 'GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: x'],
  ['%FILTER_STATE%', 'Invalid filter state configuration, key cannot be empty.'],
  ['%FILTER_STATE(a:x)%', 'Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.'],
  ['%FILTER_STATE(a:FIELD)%', 'Invalid filter state serialize type, FIELD should be used with the field name.'],
  ['%COMMON_DURATION(a)%', 'Invalid common duration configuration: a.'],
  ['%COMMON_DURATION(a:b:c)%', 'Invalid common duration precision: c.'],
  ['%REQ_WITHOUT_QUERY(:path)%', 'Not supported field in StreamInfo: REQ_WITHOUT_QUERY'],
  ['%COALESCE({})%', "COALESCE: JSON configuration must contain 'operators' array"],
  ['%COALESCE({"operators":[]})%', "COALESCE: 'operators' array must not be empty"],
  ['%COALESCE({"operators":["REQ"]})%', 'COALESCE: failed to parse operator at index 0: REQ requires parameters'],
  ['%COALESCE({"operators":["FOO"]})%', "COALESCE: failed to parse operator at index 0: unknown command: 'FOO'"],
  ['%CEL(1 +)%', 'Not able to parse expression: 1:3: found + but expecting end of input'],
  ['%CEL([1].exists(x, x == 1))%', 'failed to create an expression: Comprehension support is disabled'],
]

it.each(REFUSED)('the format %s is refused: %s', (format, message) => {
  let error: unknown
  try {
    compileFormat(format, new TestRuntime())
  } catch (e) {
    error = e
  }
  expect(error).toBeInstanceOf(ConfigError)
  expect((error as ConfigError).errors).toEqual([message])
})
