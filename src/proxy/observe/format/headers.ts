import { type HeaderMap, type HeaderName, headerName, type RequestHead, type ResponseHead } from '../../http/headers.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { truncate } from './bytes.ts'
import { numberOperator, type Operator, type OperatorSpec, type OperatorTable, textOperator } from './operator.ts'

/** Reads one header, pseudo headers included. */
type Reader<H> = (head: H) => string | undefined

const TOKEN = /^:?[!#$%&'*+\-.^_`|~0-9A-Za-z]*$/

/** `A?B` of %REQ(A?B)%: two header names, the second optional. */
export function parseHeaderNames(param: string): [main: string, alternative: string] {
  const [main = '', alternative = '', ...more] = param.split('?')
  if (more.length > 0) throw new Error(`More than 1 alternative header specified in token: ${param}`)
  if (!TOKEN.test(main) || !TOKEN.test(alternative)) {
    throw new Error('Invalid header configuration. Format string contains invalid characters.')
  }
  return [main.toLowerCase(), alternative.toLowerCase()]
}

function line(name: string): Reader<HeaderMap> {
  const interned: HeaderName = headerName(name)
  return (head) => head.get(interned)
}

/** Reader of a request header by lower-case name. An empty pseudo header counts as absent. */
export function requestHeader(name: string): Reader<RequestHead> {
  switch (name) {
    case ':method':
      return (head) => head.method || undefined
    case ':path':
      return (head) => head.path || undefined
    case ':authority':
    case 'host':
      return (head) => (head.hasAuthority ? head.authority : undefined)
    case ':scheme':
      return (head) => head.scheme || undefined
    default:
      return line(name)
  }
}

function responseHeader(name: string): Reader<ResponseHead> {
  return name === ':status' ? (head) => String(head.status) : line(name)
}

/** %REQ(A?B):N% for one kind of head. */
function headerOperator<H>(
  headOf: (info: StreamInfo) => H | undefined,
  reader: (name: string) => Reader<H>,
): OperatorSpec {
  return {
    params: 'required',
    length: true,
    make: (param, max) => {
      const [mainName, alternativeName] = parseHeaderNames(param)
      const main = reader(mainName)
      const alternative = alternativeName === '' ? undefined : reader(alternativeName)
      if (alternative === undefined && max === undefined) {
        return textOperator((info) => {
          const head = headOf(info)
          return head === undefined ? undefined : main(head)
        })
      }
      return textOperator((info) => {
        const head = headOf(info)
        if (head === undefined) return undefined
        const value = main(head) ?? alternative?.(head)
        return value === undefined ? undefined : truncate(value, max)
      })
    },
  }
}

const request = headerOperator((info) => info.request, requestHeader)
const response = headerOperator((info) => info.response, responseHeader)
const trailer = headerOperator<HeaderMap>((info) => info.responseTrailers, line)

/** Strips the query of a header's value (source/extensions/formatter/req_without_query); an extension that a format has to name. */
export const requestWithoutQuery: OperatorSpec = {
  params: 'required',
  length: true,
  make: (param, max) => {
    const [mainName, alternativeName] = parseHeaderNames(param)
    const main = requestHeader(mainName)
    const alternative = alternativeName === '' ? undefined : requestHeader(alternativeName)
    return textOperator((info) => {
      if (info.request === undefined) return undefined
      const value = main(info.request) ?? alternative?.(info.request)
      return value === undefined ? undefined : truncate(value.split('?', 1)[0]!, max)
    })
  },
}

function sizeOperator(mapOf: (info: StreamInfo) => HeaderMap | undefined): OperatorSpec {
  const operator: Operator = numberOperator((info) => mapOf(info)?.byteSize ?? 0)
  return { params: 'none', length: false, make: () => operator }
}

/** Headers and trailers (source/common/formatter/http_specific_formatter.cc). */
export const headers: OperatorTable = {
  REQ: request,
  REQUEST_HEADER: request,
  STREAM_INFO_REQ: request,
  RESP: response,
  RESPONSE_HEADER: response,
  TRAILER: trailer,
  RESPONSE_TRAILER: trailer,
  REQUEST_HEADERS_BYTES: sizeOperator((info) => info.request),
  RESPONSE_HEADERS_BYTES: sizeOperator((info) => info.response),
  RESPONSE_TRAILERS_BYTES: sizeOperator((info) => info.responseTrailers),
}
