import type { ApiObject, OtherObject } from '../api/objects.ts'
import type { Problem } from '../api/problems.ts'
import { allAnalyzers, analyze } from '../pilot/analysis/analyze.ts'
import { authorizationPolicies } from '../pilot/analysis/authorization-policies.ts'
import type { Message, Reported } from '../pilot/analysis/message.ts'
import { OWN_ANALYZERS } from '../pilot/analysis/own/all.ts'
import { pilotEnv } from '../pilot/env.ts'
import { PushContext } from '../pilot/scope/push-context.ts'
import { ClusterAllotter } from '../registry/addresses.ts'
import { overlaid } from '../store/overlay.ts'
import type { Snapshot } from '../store/snapshot.ts'
import { captureOf } from './links.ts'
import { isInstalled, STANDS_IN, standInGateways } from './stand-in-gateways.ts'

/** What to analyze a snapshot with. */
export interface AnalysisOptions {
  readonly others: readonly OtherObject[]
  /** ms since the epoch. */
  readonly now: () => number
  /** Names of analyzers; empty: all. */
  readonly analyzers: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Whether an object is none of the author's: made here, from others. */
const isMade = ({ metadata, origin }: Reported): boolean =>
  metadata.annotations[STANDS_IN] !== undefined || origin.source?.([]) !== undefined

/** Runs analyzers over all objects, with the gateways of an installed Istio where files count on them. */
export function analyzeSnapshot(snapshot: Snapshot, options: AnalysisOptions): Message[] {
  const env = pilotEnv(options.env)
  const installed = standInGateways(snapshot, env.domain).filter(isOfInstallation)
  const push = new PushContext(overlaid(snapshot, installed), env, new ClusterAllotter())
  const chosen = allAnalyzers(options.now).filter(
    ({ name }) => options.analyzers.length === 0 || options.analyzers.includes(name),
  )
  return analyze(push, options.others, chosen, { isMade, capture: captureOf() })
}

const isOfInstallation = ({ metadata: { labels } }: ApiObject): boolean =>
  isInstalled(Object.fromEntries(Object.entries(labels).filter(([key]) => key === 'istio' || key === 'app')))

/** The messages of a running mesh that surely tell of a mistake, as problems: a rule that never matches, a policy that is ignored. */
export function certainProblems(push: PushContext): Problem[] {
  return analyze(push, [], [...OWN_ANALYZERS, authorizationPolicies], { isMade, capture: captureOf() }).flatMap(
    ({ certain, code, text, at }) =>
      certain && at ? [{ severity: 'warning' as const, message: `${text} [${code}]`, ...at }] : [],
  )
}
