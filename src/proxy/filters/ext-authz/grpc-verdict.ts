import type { HeaderValueOption } from '#gen/envoy/config/core/v3/base_pb.js'
import type { CheckResponse, DeniedHttpResponse, OkHttpResponse } from '#gen/envoy/service/auth/v3/external_auth_pb.js'
import type { GrpcAnswer, GrpcMethod } from '../../http/grpc-client.ts'
import { type HeaderPair, Verdict, wireText } from './verdict.ts'

/** The method that authorizers of gRPC have. */
export const CHECK: GrpcMethod = {
  service: 'envoy.service.auth.v3.Authorization',
  method: 'Check',
  response: 'envoy.service.auth.v3.CheckResponse',
}

/** HeaderValueOption.HeaderAppendAction. */
const APPEND = 0
const ADD_IF_ABSENT = 1
const OVERWRITE = 2
const OVERWRITE_IF_EXISTS = 3

/** The verdict in an answer of envoy.service.auth.v3.Authorization/Check (source/extensions/filters/common/ext_authz/ext_authz_grpc_impl.cc). */
export function verdictOf(answer: GrpcAnswer): Verdict {
  if (answer.response === undefined) return new Verdict('error')
  const response = answer.response as CheckResponse
  const { httpResponse } = response
  const allowed = (response.status?.code ?? 0) === 0
  const failed = !allowed && httpResponse.case === 'errorResponse'
  const verdict = new Verdict(allowed ? 'ok' : failed ? 'error' : 'denied')
  if (allowed) {
    if (httpResponse.case === 'okResponse') permit(verdict, httpResponse.value)
  } else {
    if (!failed) verdict.status = 403
    if (httpResponse.case === 'deniedResponse' || failed) describe(verdict, httpResponse.value)
  }
  const own = httpResponse.case === 'okResponse' ? httpResponse.value.dynamicMetadata : undefined
  verdict.metadata = own ?? response.dynamicMetadata
  return verdict
}

/** An answer to the client. */
function describe(verdict: Verdict, { status, headers, body }: DeniedHttpResponse): void {
  if (status !== undefined && (status.code as number) > 0) verdict.status = status.code
  for (const option of headers)
    (option.append === true ? verdict.headersToAppend : verdict.headersToSet).push(pair(option))
  verdict.body = Buffer.from(body)
}

/** Changes of the request, and of the response that it gets. */
function permit(verdict: Verdict, ok: OkHttpResponse): void {
  for (const option of ok.headers)
    (option.append === true ? verdict.headersToAppend : verdict.headersToSet).push(pair(option))
  for (const option of ok.responseHeadersToAdd) responseList(verdict, option)?.push(pair(option))
  verdict.headersToRemove = ok.headersToRemove
  verdict.queryToSet = ok.queryParametersToSet.map(({ key, value }): HeaderPair => [key, value])
  verdict.queryToRemove = ok.queryParametersToRemove
}

function responseList(verdict: Verdict, { append, appendAction }: HeaderValueOption): HeaderPair[] | undefined {
  if (append !== undefined) return append ? verdict.responseToAdd : verdict.responseToSet
  switch (appendAction as number) {
    case APPEND:
      return verdict.responseToAdd
    case ADD_IF_ABSENT:
      return verdict.responseToAddIfAbsent
    case OVERWRITE:
      return verdict.responseToSet
    case OVERWRITE_IF_EXISTS:
      return verdict.responseToOverwriteIfPresent
    default:
      verdict.sawInvalidAction = true
      return undefined
  }
}

function pair({ header }: HeaderValueOption): HeaderPair {
  return [header?.key ?? '', wireText(header?.value ?? '')]
}
