import type { Service } from './model.ts'

/**
 * Tells each service which ExternalName services stand for it, through any number of steps; a circle stands for
 * nothing (pilot/pkg/model/push_context.go resolveServiceAliases).
 */
export function aliasTargets(services: readonly Service[]): void {
  const next = new Map<string, string>()
  for (const service of services) {
    if (service.resolution === 'ALIAS') next.set(service.hostname, service.externalName ?? '')
  }
  if (next.size === 0) return
  const aliases = new Map<string, { hostname: string; namespace: string }[]>()
  for (const service of services) {
    if (service.resolution !== 'ALIAS') continue
    const seen = new Set([service.hostname])
    let target = service.externalName ?? ''
    while (next.has(target) && !seen.has(target)) {
      seen.add(target)
      target = next.get(target) as string
    }
    if (next.has(target)) continue
    const known = aliases.get(target) ?? []
    known.push({ hostname: service.hostname, namespace: service.namespace })
    aliases.set(target, known)
  }
  const order = (a: { hostname: string; namespace: string }, b: { hostname: string; namespace: string }): number =>
    `${a.namespace}\0${a.hostname}` < `${b.namespace}\0${b.hostname}` ? -1 : 1
  for (const service of services) {
    if (service.resolution !== 'ALIAS') service.aliases = (aliases.get(service.hostname) ?? []).sort(order)
  }
}
