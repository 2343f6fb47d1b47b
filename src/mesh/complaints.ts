import type { Problem } from '../api/problems.ts'
import { statusProblems } from '../pilot/gateway-api/status-problems.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import { danglingRoutes } from './dangling-routes.ts'
import { gatewayProblems } from './gateway-problems.ts'

/** What the statuses of objects complain of, each thing told once until it is mended. */
export class Complaints {
  #told: ReadonlySet<string> = new Set()

  /** What is new in a context. */
  news(context: PushContext): Problem[] {
    const { snapshot, gatewayApi } = context
    const all = new Map(
      [...statusProblems(snapshot, gatewayApi), ...gatewayProblems(context), ...danglingRoutes(context)].map(
        (problem) => [`${problem.file}:${problem.line} ${problem.message}`, problem],
      ),
    )
    const fresh = [...all].filter(([key]) => !this.#told.has(key)).map(([, problem]) => problem)
    this.#told = new Set(all.keys())
    return fresh
  }
}
