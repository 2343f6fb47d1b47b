import { headerName, type RequestHead } from '../../http/headers.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { truncate } from './bytes.ts'
import { type OperatorSpec, type OperatorTable, textOperator } from './operator.ts'
import { xfccKey, xfccValue } from './xfcc.ts'

const ORIGINAL_PATH = headerName('x-envoy-original-path')
const ORIGINAL_HOST = headerName('x-envoy-original-host')
const XFCC = headerName('x-forwarded-client-cert')

/** `%41` to `A`; plus signs and broken escapes stay (source/common/http/utility.cc PercentEncoding::decode). */
export function percentDecode(text: string): string {
  return text.replace(/%([0-9a-fA-F]{2})/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** What follows the first `?`; undefined when there is none. */
function queryOf(path: string): string | undefined {
  const mark = path.indexOf('?')
  return mark < 0 ? undefined : path.slice(mark + 1)
}

/** The first value of a query parameter, decoded. */
export function queryParameter(path: string, key: string): string | undefined {
  const query = queryOf(path)
  if (query === undefined) return undefined
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=')
    const name = equals < 0 ? pair : pair.slice(0, equals)
    if (percentDecode(name) === key) return equals < 0 ? '' : percentDecode(pair.slice(equals + 1))
  }
  return undefined
}

const queryParam: OperatorSpec = {
  params: 'required',
  length: true,
  make: (param, max) =>
    textOperator((info) => {
      const value = info.request && queryParameter(info.request.path, param)
      return value === undefined ? undefined : truncate(value, max)
    }),
}

const queryParams: OperatorSpec = {
  params: 'optional',
  length: true,
  make: (param, max) => {
    if (param !== '' && param !== 'ORIG' && param !== 'DECODED') {
      throw new Error(`Invalid QUERY_PARAMS option: '${param}', only 'ORIG'/'DECODED' are allowed`)
    }
    return textOperator((info) => {
      const query = info.request && queryOf(info.request.path)
      if (!query) return undefined
      return truncate(param === 'DECODED' ? percentDecode(query) : query, max)
    })
  },
}

const path: OperatorSpec = {
  params: 'optional',
  length: true,
  make: (param, max) => {
    const [query = '', which = ''] = param.split(':')
    if (!['', 'WQ', 'NQ'].includes(query)) {
      throw new Error(`Invalid PATH option: '${query}', only 'WQ'/'NQ' are allowed`)
    }
    if (!['', 'ORIG', 'PATH', 'ORIG_OR_PATH'].includes(which)) {
      throw new Error(`Invalid PATH option: '${which}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed`)
    }
    const pick = (head: RequestHead): string | undefined => {
      if (which === 'PATH') return head.path
      const original = head.get(ORIGINAL_PATH)
      return which === 'ORIG' ? original : original || head.path
    }
    return textOperator((info) => {
      const value = info.request && pick(info.request)
      if (!value) return undefined
      return truncate(query === 'NQ' ? value.split('?', 1)[0]! : value, max)
    })
  },
}

function hostOf(info: StreamInfo, which: string): string | undefined {
  const head = info.request
  if (head === undefined) return undefined
  if (which === 'HOST') return head.authority || undefined
  const original = head.get(ORIGINAL_HOST)
  return which === 'ORIG' ? original : original || head.authority || undefined
}

/** Anything that a host name may not hold becomes `_`, and the whole is marked (source/common/common/utility.cc sanitizeInvalidHostname). */
function sanitizedSni(info: StreamInfo): string | undefined {
  const sni = info.downstream.sni
  if (sni === '') return undefined
  const clean = sni.replace(/[^0-9A-Za-z._-]/g, '_')
  return clean === sni ? sni : `invalid:${clean}`
}

const requestedServerName: OperatorSpec = {
  params: 'optional',
  length: false,
  make: (param) => {
    const [order = '', which = ''] = param.split(':')
    if (!['', 'SNI_ONLY', 'SNI_FIRST', 'HOST_FIRST'].includes(order)) {
      throw new Error(
        `Invalid REQUESTED_SERVER_NAME option: '${order}', only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed`,
      )
    }
    if (!['', 'ORIG_OR_HOST', 'HOST', 'ORIG'].includes(which)) {
      throw new Error(`Invalid REQUESTED_SERVER_NAME option: '${which}', only 'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed`)
    }
    if (order === 'SNI_FIRST') return textOperator((info) => sanitizedSni(info) ?? hostOf(info, which))
    if (order === 'HOST_FIRST') return textOperator((info) => hostOf(info, which) ?? sanitizedSni(info))
    return textOperator(sanitizedSni)
  },
}

/** Parts of the request (source/common/formatter/http_specific_formatter.cc). */
export const request: OperatorTable = {
  PATH: path,
  QUERY_PARAM: queryParam,
  QUERY_PARAMS: queryParams,
  REQUESTED_SERVER_NAME: requestedServerName,
  XFCC_VALUE: {
    params: 'optional',
    length: true,
    make: (param) => {
      const key = xfccKey(param)
      return textOperator((info) => {
        const header = info.request?.get(XFCC)
        return header ? xfccValue(header, key) : undefined
      })
    },
  },
}
