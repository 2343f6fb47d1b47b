import type { Problem } from '../api/problems.ts'
import { statusProblems } from '../pilot/gateway-api/status-problems.ts'
import type { PushContext } from '../pilot/scope/push-context.ts'
import { certainProblems } from './analysis.ts'
import { authorizerProblems } from './authorizer-problems.ts'
import { danglingRoutes } from './dangling-routes.ts'
import { gatewayProblems } from './gateway-problems.ts'
import { secretProblems } from './secret-problems.ts'

/** What the statuses of objects complain of, each thing told once until it is mended. */
export class Complaints {
  #told: ReadonlySet<string> = new Set()
  #about: readonly unknown[] = []
  #problems: readonly Problem[] = []

  /** What is new in a context at `now`, wall clock in ms. */
  news(context: PushContext, now: number): Problem[] {
    const { snapshot, gatewayApi } = context
    const all = new Map(
      [
        ...statusProblems(snapshot, gatewayApi),
        ...gatewayProblems(context),
        ...secretProblems(context, now),
        ...authorizerProblems(context),
        ...danglingRoutes(context),
        ...this.#certain(context),
      ].map((problem) => [`${problem.file}:${problem.line} ${problem.message}`, problem]),
    )
    const fresh = [...all].filter(([key]) => !this.#told.has(key)).map(([, problem]) => problem)
    this.#told = new Set(all.keys())
    return fresh
  }

  /** Looked for again only when what they are about has changed. */
  #certain(context: PushContext): readonly Problem[] {
    const { snapshot, registry, destinationRules, peerAuthentications, authorizationPolicies, mesh } = context
    const about = [registry, destinationRules, peerAuthentications, authorizationPolicies, mesh]
    const all = [...about, snapshot.list('RequestAuthentication')]
    if (all.some((part, index) => part !== this.#about[index])) {
      this.#about = all
      this.#problems = certainProblems(context)
    }
    return this.#problems
  }
}
