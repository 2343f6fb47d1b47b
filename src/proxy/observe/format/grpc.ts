import { headerName } from '../../http/headers.ts'
import { grpcStatusOf as grpcStatusOfHttp } from '../../http/local-replies.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { numberOperator, type Operator, type OperatorTable, textOperator } from './operator.ts'

const CONTENT_TYPE = headerName('content-type')
const GRPC_STATUS = headerName('grpc-status')

const CAMEL = [
  'OK',
  'Canceled',
  'Unknown',
  'InvalidArgument',
  'DeadlineExceeded',
  'NotFound',
  'AlreadyExists',
  'PermissionDenied',
  'ResourceExhausted',
  'FailedPrecondition',
  'Aborted',
  'OutOfRange',
  'Unimplemented',
  'Internal',
  'Unavailable',
  'DataLoss',
  'Unauthenticated',
] as const

const SNAKE = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const

function parsed(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined
  return /^\d+$/.test(text) ? Number(text) : -1
}

/**
 * The stream's gRPC status: of the trailers, else of the head, else inferred from the HTTP status
 * (source/common/grpc/common.cc). -1: the header is no number.
 */
export function grpcStatusOf(info: StreamInfo): number | undefined {
  return (
    parsed(info.responseTrailers?.get(GRPC_STATUS)) ??
    parsed(info.response?.get(GRPC_STATUS)) ??
    (info.responseCode === 0 ? undefined : grpcStatusOfHttp(info.responseCode))
  )
}

function isGrpcRequest(info: StreamInfo): boolean {
  const type = info.request?.get(CONTENT_TYPE)
  return type !== undefined && (type === 'application/grpc' || type.startsWith('application/grpc+'))
}

function named(names: readonly string[]): Operator {
  return textOperator((info) => {
    const status = isGrpcRequest(info) ? grpcStatusOf(info) : undefined
    return status === undefined ? undefined : (names[status] ?? String(status))
  })
}

const numeric = numberOperator((info) => (isGrpcRequest(info) ? grpcStatusOf(info) : undefined))

/** gRPC status of gRPC requests. */
export const grpc: OperatorTable = {
  GRPC_STATUS: {
    params: 'optional',
    length: false,
    make: (param) => {
      if (param === '' || param === 'CAMEL_STRING') return named(CAMEL)
      if (param === 'SNAKE_STRING') return named(SNAKE)
      if (param === 'NUMBER') return numeric
      throw new Error(`GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: ${param}`)
    },
  },
  GRPC_STATUS_NUMBER: { params: 'none', length: false, make: () => numeric },
}
