import type { Problem } from '../api/problems.ts'
import type { OutlierReport } from './outlier-report.ts'

/** What a running mesh tells whoever runs it. */
export type MeshEvent =
  | { readonly type: 'problems'; readonly problems: readonly Problem[] }
  | { readonly type: 'changed'; readonly summary: string }
  | { readonly type: 'workload'; readonly workload: string; readonly message: string }
  | { readonly type: 'output' | 'log'; readonly workload: string; readonly line: string }
  | ({ readonly type: 'outlier' } & OutlierReport)
  | { readonly type: 'warning'; readonly message: string }
  | {
      readonly type: 'rejected'
      readonly workload: string
      readonly typeUrl: string
      readonly message: string
      /** `FILE:LINE:COLUMN: EnvoyFilter …` of the patches that are in what was refused. */
      readonly patches: readonly string[]
    }
