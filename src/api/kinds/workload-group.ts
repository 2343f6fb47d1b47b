import type { z } from 'zod'
import { int32, list, map, message, text, uint32 } from '../schema.ts'
import { WorkloadEntry } from './workload-entry.ts'

/** Labels and annotations of the entries. */
export const WorkloadGroupMetadata = message({
  labels: map(text),
  annotations: map(text),
})
export type WorkloadGroupMetadata = z.infer<typeof WorkloadGroupMetadata>

/** A header of the probe request. */
export const HTTPHeader = message({
  name: text,
  value: text,
})
export type HTTPHeader = z.infer<typeof HTTPHeader>

/** Ready when a GET answers 200 to 399. */
export const HTTPHealthCheckConfig = message(
  {
    path: text,
    port: uint32,
    host: text,
    scheme: text,
    httpHeaders: list(HTTPHeader),
  },
  ['port'],
)
export type HTTPHealthCheckConfig = z.infer<typeof HTTPHealthCheckConfig>

/** Ready when a connection opens. */
export const TCPHealthCheckConfig = message(
  {
    host: text,
    port: uint32,
  },
  ['port'],
)
export type TCPHealthCheckConfig = z.infer<typeof TCPHealthCheckConfig>

/** Ready when a command exits with 0. */
export const ExecHealthCheckConfig = message(
  {
    command: list(text),
  },
  ['command'],
)
export type ExecHealthCheckConfig = z.infer<typeof ExecHealthCheckConfig>

/** Ready when grpc.health.v1.Health says so. */
export const GrpcHealthCheckConfig = message({
  port: uint32,
  service: text,
})
export type GrpcHealthCheckConfig = z.infer<typeof GrpcHealthCheckConfig>

/** How to find out whether a workload is ready. */
export const ReadinessProbe = message(
  {
    initialDelaySeconds: int32,
    timeoutSeconds: int32,
    periodSeconds: int32,
    successThreshold: int32,
    failureThreshold: int32,
    httpGet: HTTPHealthCheckConfig,
    tcpSocket: TCPHealthCheckConfig,
    exec: ExecHealthCheckConfig,
    grpc: GrpcHealthCheckConfig,
  },
  [],
  [['httpGet', 'tcpSocket', 'exec', 'grpc']],
)
export type ReadinessProbe = z.infer<typeof ReadinessProbe>

/** A template for WorkloadEntries (networking/v1alpha3/workload_group.proto). */
export const WorkloadGroup = message(
  {
    metadata: WorkloadGroupMetadata,
    template: WorkloadEntry,
    probe: ReadinessProbe,
  },
  ['template'],
)
export type WorkloadGroup = z.infer<typeof WorkloadGroup>
