import type http from 'node:http'
import type { Workload } from '../registry/model.ts'
import type { AppHandler } from './types.ts'

/** The handler that a test gives to a workload: that of its most exact name. */
export function handlerOf(
  { name, namespace, workloadName, labels }: Workload,
  apps: Readonly<Record<string, AppHandler>>,
): http.RequestListener | undefined {
  for (const called of [name, workloadName, labels.app]) {
    if (called === undefined) continue
    const handler = apps[`${called}.${namespace}`] ?? apps[called]
    if (handler) return handler
  }
  return undefined
}
