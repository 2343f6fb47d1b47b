import type {
  AdmissionControl,
  AdmissionControl_SuccessCriteria,
} from '#gen/envoy/extensions/filters/http/admission_control/v3/admission_control_pb.js'
import { ConfigError } from '../../context.ts'
import { durationMs } from '../../http/config.ts'
import { featureEnabled, type RuntimeValues, runtimeNumber } from '../../runtime-values.ts'

/** gRPC codes that are no sign of an overloaded server; all others are (success_criteria_evaluator.cc). */
const GRPC_SUCCESS = [0, 1, 2, 3, 5, 6, 7, 9, 11, 12, 16]

/** A compiled `AdmissionControl` (source/extensions/filters/http/admission_control/config.cc). */
export class AdmissionConfig {
  readonly enabled: boolean
  /** Seconds. */
  readonly window: number
  /** At least 1. */
  readonly aggression: number
  /** Shares, 0 to 1. */
  readonly successThreshold: number
  readonly maxRejection: number
  readonly rpsThreshold: number
  private readonly httpRanges: readonly { readonly start: number; readonly end: number }[] | undefined
  private readonly grpcCodes: ReadonlySet<number>

  /** Throws ConfigError. */
  constructor(config: AdmissionControl, values: RuntimeValues | undefined) {
    const { srThreshold, maxRejectionProbability, aggression, rpsThreshold, evaluationCriteria } = config
    if (srThreshold !== undefined && (srThreshold.defaultValue?.value ?? 0) < 1)
      throw new ConfigError(['Success rate threshold cannot be less than 1.0%.'])
    if (evaluationCriteria.case !== 'successCriteria') throw new ConfigError(['Evaluation criteria not set'])
    const percent = (field: typeof srThreshold, preset: number): number =>
      runtimeNumber(field?.runtimeKey, field === undefined ? preset : (field.defaultValue?.value ?? 0), values) / 100
    this.enabled = featureEnabled(config.enabled, values)
    this.window = Math.floor((durationMs(config.samplingWindow) ?? 30_000) / 1000)
    this.aggression = Math.max(1, runtimeNumber(aggression?.runtimeKey, aggression?.defaultValue ?? 1, values))
    this.successThreshold = Math.min(percent(srThreshold, 95), 1)
    this.maxRejection = percent(maxRejectionProbability, 80)
    this.rpsThreshold = runtimeNumber(rpsThreshold?.runtimeKey, rpsThreshold?.defaultValue ?? 0, values)
    const criteria = evaluationCriteria.value
    this.httpRanges = rangesOf(criteria)
    this.grpcCodes = codesOf(criteria)
  }

  isHttpSuccess(status: number): boolean {
    if (this.httpRanges === undefined) return status < 500
    return this.httpRanges.some(({ start, end }) => start <= status && status < end)
  }

  isGrpcSuccess(code: number): boolean {
    return this.grpcCodes.has(code)
  }
}

function rangesOf({ httpCriteria }: AdmissionControl_SuccessCriteria) {
  const ranges = httpCriteria?.httpSuccessStatus
  for (const { start, end } of ranges ?? []) {
    if (start > end || start < 100 || start >= 600 || end < 100 || end > 600)
      throw new ConfigError([`invalid HTTP range: [${start}, ${end})`])
  }
  return ranges
}

function codesOf({ grpcCriteria }: AdmissionControl_SuccessCriteria): ReadonlySet<number> {
  const codes = grpcCriteria?.grpcSuccessStatus ?? GRPC_SUCCESS
  const wrong = codes.find((code) => code > 16)
  if (wrong !== undefined) throw new ConfigError([`invalid gRPC code ${wrong}`])
  return new Set(codes)
}
