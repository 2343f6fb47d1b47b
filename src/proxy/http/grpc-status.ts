/** gRPC statuses that a client itself gives a call (envoy/grpc/status.h). */
export const GrpcStatus = { OK: 0, UNKNOWN: 2, INTERNAL: 13, UNAVAILABLE: 14 } as const
